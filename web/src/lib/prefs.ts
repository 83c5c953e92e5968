// What a person chose on this device. Nothing of the ward is kept in the browser.

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
