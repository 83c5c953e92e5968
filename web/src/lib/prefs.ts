// What a person chose on this device, and what this tab has to find again after a reload. Nothing of the ward is kept in
// the browser.

const NAME = 'wardwatch.';

export function remembered(name: string): string | null {
  try {
    return localStorage.getItem(NAME + name);
  } catch {
    return null;
  }
}

export function remember(name: string, value: string): void {
  try {
    localStorage.setItem(NAME + name, value);
  } catch {
    // A browser that keeps nothing still works.
  }
}

/** For this tab only, until it is closed. */
export function kept(name: string): string | null {
  try {
    return sessionStorage.getItem(NAME + name);
  } catch {
    return null;
  }
}

export function keep(name: string, value: string): void {
  try {
    sessionStorage.setItem(NAME + name, value);
  } catch {
    // As above.
  }
}
