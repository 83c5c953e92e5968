// Where we are: #/view/part/part?query. A hash, so that the server needs to know of no view.

import { queryString, type Query } from './api';
import { walked } from './place';

export interface Place { view: string; parts: string[]; query: URLSearchParams }

export function parsePlace(hash: string): Place {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?', 2);
  const [view = '', ...parts] = path.split('/').map(decode);
  return { view: view || 'now', parts, query: new URLSearchParams(query) };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

class Router {
  place = $state.raw<Place>(parsePlace(location.hash));
  /** Asked before a place is left; false keeps it, and says later where to go after all. */
  guard: ((to: string) => boolean) | null = null;
  #here = location.hash;
  /** Within this page only: what lies before it in the browser's history is not ours. */
  #way: readonly string[] = [location.hash];

  constructor() {
    window.addEventListener('hashchange', () => {
      const to = location.hash;
      if (to !== this.#here && this.guard?.(to) === false) {
        history.pushState(null, '', `${location.pathname}${location.search}${this.#here}`);
        return;
      }
      this.#way = walked(this.#way, to);
      this.#arrive(to);
    });
  }

  #arrive(hash: string): void {
    this.#here = hash;
    this.place = parsePlace(hash);
  }

  go(hash: string): void {
    location.hash = hash;
  }

  /** After a link to where one is already, which the browser takes for nothing: as if one came anew. */
  again(hash: string): void {
    if (location.hash === hash) this.replace(hash);
  }

  /** Where one came from, as it was left; to `otherwise` when the page began here. */
  back(otherwise: string): void {
    if (this.#way.length > 1) history.back();
    else this.go(otherwise);
  }

  /** Another query of the same view, without a step in the history. */
  replace(hash: string): void {
    history.replaceState(null, '', `${location.pathname}${location.search}${hash}`);
    this.#way = [...this.#way.slice(0, -1), hash];
    this.#arrive(hash);
  }
}

export const router = new Router();

export function link(view: string, parts: string[] = [], query: Query = {}): string {
  return `#/${[view, ...parts].map(encodeURIComponent).join('/')}${queryString(query)}`;
}

export const eventLink = (e: { node: string; id: string }) => link('event', [e.node, e.id]);
