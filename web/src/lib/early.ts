// What `src/early.ts` has asked for, each answer for the first who asks the same.

/** An answer that has been read. */
export interface Answer { response: Response; text: string }

declare global {
  var wardwatchEarly: Map<string, Promise<Answer>> | undefined;
}

/** The answer that is on its way already, if there is one. */
export function early(method: string, address: string): Promise<Answer> | undefined {
  // Should it come only now, it has nothing to do any more.
  const asked = (globalThis.wardwatchEarly ??= new Map());
  if (method !== 'GET') return undefined;
  const answer = asked.get(address);
  asked.delete(address);
  return answer;
}

/** What was asked for somebody who is not here any more, or is refused, is no answer for the next one. */
export function forgetEarly(): void {
  globalThis.wardwatchEarly?.clear();
}

/** When all of them are answered that nobody has taken yet, or so much later. */
export async function earlyAnswered(most_ms: number): Promise<void> {
  const answers = [...(globalThis.wardwatchEarly?.values() ?? [])];
  if (answers.length === 0) return;
  const late = new Promise((resolve) => setTimeout(resolve, most_ms));
  await Promise.race([Promise.allSettled(answers), late]);
}
