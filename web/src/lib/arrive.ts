// A view that is opened: from its top, and with the focus on its heading, so that whoever cannot see it hears where he is.

/** A view that comes over a slow line has its heading later. */
const LATE_MS = 10_000;

export function arrive(main: HTMLElement): void {
  const box = main.closest('.body');
  if (box) box.scrollTop = 0;
  if (head(main)) return;
  main.focus({ preventScroll: true });
  const watch = new MutationObserver(() => {
    // Whoever has gone elsewhere meanwhile stays there.
    if (document.activeElement !== main || head(main)) stop();
  });
  const stop = () => {
    watch.disconnect();
    clearTimeout(late);
  };
  const late = setTimeout(stop, LATE_MS);
  watch.observe(main, { childList: true, subtree: true });
}

function head(main: HTMLElement): boolean {
  const heading = main.querySelector('h1');
  if (!heading) return false;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
  return true;
}
