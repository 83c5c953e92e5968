// Runs before the page itself is there: asks for what its first view needs, so that the answers and the page are on their way
// together. It imports nothing; `lib/early.ts` hands the answers over.

const asked: NonNullable<typeof globalThis.wardwatchEarly> = new Map();

async function read(address: string) {
  const response = await fetch(address, { credentials: 'same-origin', signal: AbortSignal.timeout(20_000) });
  return { response, text: await response.text() };
}

function ask(path: string): void {
  const address = new URL(`api/v1/${path}`, document.baseURI).href;
  const answer = read(address);
  // Whoever takes it sees what went wrong.
  answer.catch(() => {});
  asked.set(address, answer);
}

/** Whoever was here last saw events. */
function sawEvents(): boolean {
  try {
    return localStorage.getItem('wardwatch.events') === 'on';
  } catch {
    return false;
  }
}

// Unless the page was faster: then it has asked by itself.
if (globalThis.wardwatchEarly === undefined) {
  globalThis.wardwatchEarly = asked;
  ask('site');
  ask('session');
  if (sawEvents() && /^(#\/?(now)?)?$/.test(location.hash)) {
    ask('events?severity=alert&state=new&state=owned&state=dispatched&limit=200');
    ask('events?limit=50');
  }
}

export {};
