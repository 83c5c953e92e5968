// Live pictures: the wall's one socket of JPEGs, and one camera in full as fragmented MP4.

export interface Frame { node: string; camera: string; at_ms: number; fps: number; width: number; height: number }
export interface Told { camera: string; state: 'refused' | 'away' | 'waiting' | 'ok'; reason: string | null }

/** A binary message of the wall: the length of its header, the header, a JPEG. Null when it is none. */
export function parseFrame(data: ArrayBuffer): { header: Frame; jpeg: Uint8Array } | null {
  if (data.byteLength < 4) return null;
  const length = new DataView(data).getUint32(0);
  if (length > data.byteLength - 4) return null;
  try {
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length))) as Frame;
    return { header, jpeg: new Uint8Array(data, 4 + length) };
  } catch {
    return null;
  }
}

export function parseText(data: unknown): Record<string, unknown> | null {
  try {
    const value = JSON.parse(String(data)) as unknown;
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

const RETRY_MS = [1_000, 2_000, 5_000, 10_000];
/** How long to wait after so many failures, before it is tried again: ever longer, but somebody sits in front of it. */
export const pause = (failures: number): number => RETRY_MS[Math.min(Math.max(failures, 0), RETRY_MS.length - 1)]!;

/** So long a picture stands for now, if no other comes. */
const STALE_MS = 15_000;
/** Whether a picture that came then may be shown as one of now; `fps` is how often others come. */
export const isStale = (came_ms: number | null, fps: number | null, now_ms: number): boolean =>
  came_ms !== null && now_ms - came_ms > Math.max(STALE_MS, fps !== null && fps > 0 ? 3_000 / fps : 0);

export interface WallHandlers {
  frame: (header: Frame, picture: Blob) => void;
  told: (told: Told) => void;
  line: (open: boolean) => void;
}

/** Many cameras over one socket, opened again when it breaks. */
export class Wall {
  #socket: WebSocket | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #tries = 0;
  #stopped = false;

  constructor(private readonly address: string, private readonly handlers: WallHandlers) {
    this.#open();
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#socket?.close();
  }

  #open(): void {
    const socket = new WebSocket(this.address);
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    socket.onopen = () => this.handlers.line(true);
    socket.onmessage = (event: MessageEvent<unknown>) => {
      if (this.#stopped) return;
      this.#tries = 0;
      if (event.data instanceof ArrayBuffer) {
        const frame = parseFrame(event.data);
        if (frame) this.handlers.frame(frame.header, new Blob([frame.jpeg as BlobPart], { type: 'image/jpeg' }));
      } else {
        const told = parseText(event.data);
        if (told && typeof told['camera'] === 'string') this.handlers.told(told as unknown as Told);
      }
    };
    socket.onclose = () => {
      if (this.#stopped) return;
      this.handlers.line(false);
      this.#timer = setTimeout(() => this.#open(), pause(this.#tries));
      this.#tries += 1;
    };
  }
}

/** Shows a picture in an <img> and lets go of the one before: a wall that runs all night holds one per camera. */
export function show(image: HTMLImageElement, picture: Blob): void {
  const old = image.src;
  const address = URL.createObjectURL(picture);
  image.src = address;
  if (old.startsWith('blob:')) URL.revokeObjectURL(old);
}

export function letGo(image: HTMLImageElement): void {
  if (image.src.startsWith('blob:')) URL.revokeObjectURL(image.src);
}

/** Where to jump to when playing has fallen behind what has come; null while it keeps up. */
export function catchUp(buffered_end: number, at: number, behind = 2): number | null {
  return buffered_end - at > behind ? Math.max(0, buffered_end - 0.3) : null;
}

/** Seconds of the newest that are kept back, so that a late piece does not stop the picture. */
export const SPARE = { least: 0.5, most: 1.4, step: 0.3 };

/**
 * How fast to play: a little faster while more than `spare` and a piece lie ahead, so that the picture comes close to now
 * without a jump; `rate` is how fast it plays.
 */
export function pace(behind: number, spare: number, rate: number): number {
  if (behind > spare + 0.5) return 1.1;
  return behind < spare ? 1 : rate;
}

interface SourceConstructor {
  new (): MediaSource;
  isTypeSupported(mime: string): boolean;
}

/** iPhones have only the managed one. */
function mediaSource(): { type: SourceConstructor; managed: boolean } | null {
  const w = window as unknown as { ManagedMediaSource?: SourceConstructor; MediaSource?: SourceConstructor };
  if (w.MediaSource) return { type: w.MediaSource, managed: false };
  return w.ManagedMediaSource ? { type: w.ManagedMediaSource, managed: true } : null;
}

export type FullEnd = 'masked' | 'unsupported' | 'away' | 'refused' | 'closed';

export type Next = 'again' | 'sub-stream' | 'pictures' | 'nothing';

/**
 * What follows the end of a stream. What the browser or the camera cannot show as it is (H.265 on most PCs, MJPEG) may be
 * had as the camera's sub-stream, and what cannot be shown at all as single pictures. What is only away comes back.
 */
export function next(why: FullEnd, reason: string | null, sub: boolean): Next {
  if (why === 'refused') return 'nothing';
  if (why === 'masked') return 'pictures';
  if (why === 'unsupported' || reason === 'codec') return sub ? 'pictures' : 'sub-stream';
  return 'again';
}

export interface FullHandlers {
  playing: () => void;
  /** It cannot go on like this: single pictures are the way, or nothing is. */
  ended: (why: FullEnd, reason: string | null) => void;
  behind: (seconds: number) => void;
}

const KEEP_S = 20;
/** So much unplayed data waiting means that the browser does not take it. */
const QUEUE = 200;

/** One camera in full, kept within two seconds of now. */
export class Full {
  #socket: WebSocket;
  #source: MediaSource | null = null;
  #buffer: SourceBuffer | null = null;
  #queue: ArrayBuffer[] = [];
  #address = '';
  #done = false;
  /** It has played: what goes wrong from here on is no want of the browser's. */
  #played = false;
  #spare = SPARE.least;

  constructor(address: string, private readonly video: HTMLVideoElement, private readonly handlers: FullHandlers) {
    this.#socket = new WebSocket(address);
    this.#socket.binaryType = 'arraybuffer';
    this.#socket.onmessage = (event: MessageEvent<unknown>) => {
      if (event.data instanceof ArrayBuffer) this.#fragment(event.data);
      else this.#told(parseText(event.data));
    };
    this.#socket.onclose = () => this.#end('closed', null);
    video.addEventListener('timeupdate', this.#keepUp);
    video.addEventListener('waiting', this.#ranDry);
  }

  stop(): void {
    this.#done = true;
    this.#socket.close();
    this.video.removeEventListener('timeupdate', this.#keepUp);
    this.video.removeEventListener('waiting', this.#ranDry);
    this.video.removeAttribute('src');
    this.video.load();
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#queue = [];
  }

  #end(why: FullEnd, reason: string | null): void {
    if (this.#done) return;
    this.stop();
    this.handlers.ended(why, reason);
  }

  #told(told: Record<string, unknown> | null): void {
    if (!told || this.#done) return;
    const state = told['state'];
    if (state === 'masked' || state === 'away' || state === 'refused') {
      this.#end(state, typeof told['reason'] === 'string' ? told['reason'] : null);
    } else if (typeof told['mime'] === 'string' && !this.#source) {
      this.#begin(told['mime']);
    }
  }

  #begin(mime: string): void {
    const found = mediaSource();
    if (!found || !found.type.isTypeSupported(mime)) {
      this.#end('unsupported', null);
      return;
    }
    const source = new found.type();
    this.#source = source;
    if (found.managed) (this.video as HTMLVideoElement & { disableRemotePlayback: boolean }).disableRemotePlayback = true;
    source.addEventListener('sourceopen', () => {
      if (this.#done || this.#buffer) return;
      try {
        this.#buffer = source.addSourceBuffer(mime);
      } catch {
        this.#end('unsupported', null);
        return;
      }
      this.#buffer.addEventListener('updateend', () => this.#feed());
      this.#feed();
    });
    this.#address = URL.createObjectURL(source);
    this.video.src = this.#address;
    void this.video.play().catch(() => {});
  }

  #fragment(data: ArrayBuffer): void {
    if (this.#done) return;
    this.#queue.push(data);
    if (this.#queue.length > QUEUE) this.#broke();
    else this.#feed();
  }

  #feed(): void {
    const buffer = this.#buffer;
    if (!buffer || buffer.updating || this.#done || this.#source?.readyState !== 'open') return;
    try {
      const start = buffer.buffered.length > 0 ? buffer.buffered.start(0) : 0;
      if (this.video.currentTime - start > KEEP_S * 2) {
        buffer.remove(start, this.video.currentTime - KEEP_S);
        return;
      }
      const next = this.#queue.shift();
      if (next) buffer.appendBuffer(next);
      else this.#keepUp();
    } catch {
      this.#broke();
    }
  }

  #broke(): void {
    this.#end(this.#played ? 'closed' : 'unsupported', null);
  }

  /** The line is not as even as was hoped for: more is kept back. Before the first picture it says nothing. */
  #ranDry = (): void => {
    if (this.video.played.length > 0) this.#spare = Math.min(SPARE.most, this.#spare + SPARE.step);
  };

  #keepUp = (): void => {
    const { buffered } = this.video;
    if (buffered.length === 0 || this.#done) return;
    const end = buffered.end(buffered.length - 1);
    const start = buffered.start(buffered.length - 1);
    // The first fragment seldom begins at zero: a camera has been running for long.
    const jump = this.video.currentTime < start ? Math.max(start, end - 0.3) : catchUp(end, this.video.currentTime);
    if (jump !== null) this.video.currentTime = jump;
    const rate = pace(end - this.video.currentTime, this.#spare, this.video.playbackRate);
    if (rate !== this.video.playbackRate) this.video.playbackRate = rate;
    if (this.video.paused) void this.video.play().catch(() => {});
    this.handlers.behind(Math.max(0, end - this.video.currentTime));
    if (this.video.readyState < 2) return;
    this.#played = true;
    this.handlers.playing();
  };
}
