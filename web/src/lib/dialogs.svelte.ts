// Which dialogs are open, the topmost last. Only what is within that one can be reached and heard.

class Dialogs {
  #open = $state.raw<readonly string[]>([]);

  get top(): string | null {
    return this.#open.at(-1) ?? null;
  }

  opened(id: string): void {
    this.#open = [...this.#open, id];
  }

  closed(id: string): void {
    this.#open = this.#open.filter((o) => o !== id);
  }
}

export const dialogs = new Dialogs();
