// The cameras editor: one camera's draft, what is chosen on its picture, and what the node says of it.

import { api, ApiError } from './api';
import {
  addRule, addShape, complaints, edits, forgetPassword, put, rebase, removeRule, removeShape, renameShape, same, setPoints, setRule,
  setRuleKind, setStream, shapes, rehearsable, withoutPasswords,
  type CamerasDocument, type CameraTable, type Complaint, type Draft, type Shape, type ShapeKind, type ShapeRef, type StreamName,
} from './draft';
import { insertCorner, moveAll, moveCorner, removeCorner } from './geometry';
import { begin, change, redo, settle, undo, type Steps } from './history';
import { Newest } from './newest';
import type { Point, Rehearsed } from './types';

const REHEARSE_AFTER_MS = 400;

export interface Rejection { camera: string | null; key: string | null; detail: string; hint: string | null }
export interface Widening { camera: string; what: string }
export type Saved = 'saved' | 'nothing' | 'wrong' | 'consent' | 'conflict' | 'rejected' | 'away' | 'failed';
export type Trial =
  | { state: 'off' | 'asking' | 'wrong' }
  | { state: 'ready'; result: Rehearsed }
  | { state: 'refused'; error: unknown };

/** The server's word for what went wrong, in one spelling. */
export const codeOf = (error: unknown) => (error instanceof ApiError ? error.code.replaceAll('_', '-') : '');

export function rejectionOf(error: unknown): Rejection | null {
  if (codeOf(error) !== 'document-rejected' || !(error instanceof ApiError)) return null;
  return { camera: error.text('camera'), key: error.text('key'), detail: error.text('detail') ?? '', hint: error.text('hint') };
}

export function widenedOf(error: unknown): Widening[] {
  const list = error instanceof ApiError ? error.body['widened'] : null;
  return Array.isArray(list) ? (list as Widening[]) : [];
}

/** Drafts of this visit that were not saved when their page went; without passwords, and never on disk. */
const parked = new Map<string, { before: Draft; now: Draft }>();

export class Editor {
  /** Null while it is being asked for. */
  document = $state.raw<CamerasDocument | null>(null);
  trouble = $state.raw<unknown>(null);
  missing = $state(false);
  before = $state.raw<Draft>({ camera: { id: '', detect: {} }, schedules: [] });
  #steps = $state.raw<Steps<Draft>>(begin({ camera: { id: '', detect: {} }, schedules: [] }));

  readonly draft = $derived(this.#steps.now);
  readonly camera = $derived(this.#steps.now.camera);
  readonly shapes = $derived<Shape[]>(shapes(this.camera));
  readonly complaints = $derived<Complaint[]>(complaints(this.draft));
  readonly dirty = $derived(this.document !== null && !same(this.before, this.draft));

  chosen = $state.raw<ShapeRef | null>(null);
  corner = $state<number | null>(null);
  /** What is being drawn, and its corners so far. */
  tool = $state<ShapeKind | null>(null);
  drawing = $state.raw<Point[]>([]);

  trial = $state.raw<Trial>({ state: 'off' });
  rehearsing = $state(true);
  /** A rehearsed event that is looked at, by its place in the list. */
  shown = $state<number | null>(null);

  saving = $state(false);
  rejection = $state.raw<Rejection | null>(null);
  widened = $state.raw<Widening[]>([]);
  failure = $state.raw<unknown>(null);
  /** The node has another revision than the one this draft began from. */
  overtaken = $state(false);
  restored = $state(false);

  readonly #newest = new Newest<CameraTable>(REHEARSE_AFTER_MS, (camera, signal) => this.#rehearse(camera, signal));
  #park: string;

  constructor(readonly node: string, readonly id: string, user: string) {
    this.#park = `${user} ${node}/${id}`;
  }

  get canUndo(): boolean { return this.#steps.past.length > 0; }
  get canRedo(): boolean { return this.#steps.future.length > 0; }

  get selected(): Shape | null {
    const ref = this.chosen;
    return ref === null ? null : (this.shapes.find((s) => s.kind === ref.kind && s.at === ref.at) ?? null);
  }

  async load(): Promise<void> {
    this.trouble = null;
    try {
      const document = await api.document(this.node);
      const fresh = draftOf(document, this.id);
      this.missing = fresh === null;
      if (fresh === null) return;
      this.#begin(document, fresh);
      const left = parked.get(this.#park);
      if (left) {
        parked.delete(this.#park);
        this.restored = true;
        this.#steps = change(begin(fresh), rebase(left.before, left.now, fresh));
      }
      this.rehearse();
    } catch (error) {
      this.trouble = error;
    }
  }

  #begin(document: CamerasDocument, draft: Draft): void {
    this.document = document;
    this.before = draft;
    this.#steps = begin(draft);
    this.rejection = null;
    this.failure = null;
    this.overtaken = false;
    this.widened = [];
  }

  /** The page goes: what is not saved waits for its author, unless he does not want it. */
  leave(keep: boolean): void {
    this.#newest.stop();
    if (!keep || !this.dirty) return;
    const bare = (d: Draft): Draft => ({ ...d, camera: withoutPasswords(d.camera) });
    parked.set(this.#park, { before: bare(this.before), now: bare(this.draft) });
  }

  // --- Changes: each one a step that can be undone ---

  #change(draft: Draft, tag: string | null): void {
    if (same(draft, this.draft)) return;
    const seen = this.draft.camera;
    this.#steps = change(this.#steps, draft, tag);
    this.#changed(seen);
  }

  #changed(seen: CameraTable): void {
    this.rejection = null;
    if (this.selected === null) this.chosen = null;
    if (this.corner !== null && this.corner >= (this.selected?.points.length ?? 0)) this.corner = null;
    const matters = (['zone', 'line', 'rule'] as const).some((key) => !same(seen[key], this.camera[key]));
    if (matters) this.rehearse();
  }

  #camera(camera: CameraTable, tag: string | null = null): void {
    this.#change({ ...this.draft, camera }, tag);
  }

  settle(): void { this.#steps = settle(this.#steps); }

  undo(): void {
    const seen = this.camera;
    this.#steps = undo(this.#steps);
    this.#changed(seen);
  }

  redo(): void {
    const seen = this.camera;
    this.#steps = redo(this.#steps);
    this.#changed(seen);
  }

  set(key: string, value: unknown): void { this.#camera(put(this.camera, key, value), key); }
  setRecording(key: string, value: unknown): void {
    const recording = put(this.camera.recording ?? {}, key, value);
    this.#camera(put(this.camera, 'recording', Object.keys(recording).length > 0 ? recording : undefined), `recording.${key}`);
  }
  setStream(which: StreamName, key: string, value: unknown): void { this.#camera(setStream(this.camera, which, key, value), `${which}.${key}`); }
  forgetPassword(which: StreamName): void { this.#camera(forgetPassword(this.camera, which)); }
  dropRecord(): void { this.#camera(put(this.camera, 'record', undefined)); }
  setSchedules(schedules: Draft['schedules'], tag: string | null = null): void { this.#change({ ...this.draft, schedules }, tag); }

  addRule(kind: string, word: string): void { this.#camera(addRule(this.camera, kind, word, this.chosen ?? undefined)); }
  setRule(at: number, key: string, value: unknown): void { this.#camera(setRule(this.camera, at, key, value), `rule ${at} ${key}`); }
  setRuleKind(at: number, kind: string): void { this.#camera(setRuleKind(this.camera, at, kind)); }
  removeRule(at: number): void { this.#camera(removeRule(this.camera, at)); }

  // --- Shapes ---

  choose(ref: ShapeRef | null, corner: number | null = null): void {
    this.chosen = ref;
    this.corner = corner;
  }

  begin(kind: ShapeKind): void {
    this.tool = kind;
    this.drawing = [];
    this.choose(null);
  }

  cancel(): void {
    this.tool = null;
    this.drawing = [];
  }

  /** One more corner of what is being drawn; a line is finished with its second. */
  draw(p: Point, word: string): void {
    const corners = moveCorner([...this.drawing, p], this.drawing.length, p);
    if (this.tool === 'line' && same(corners[0], corners[1])) return;
    this.drawing = corners;
    if (this.tool === 'line' && corners.length === 2) this.finish(word);
  }

  unDraw(): void { this.drawing = this.drawing.slice(0, -1); }

  get finishable(): boolean { return this.tool !== null && this.drawing.length >= (this.tool === 'line' ? 2 : 3); }

  finish(word: string): void {
    if (this.tool === null || !this.finishable) return;
    const [camera, ref] = addShape(this.camera, this.tool, this.drawing, word);
    this.cancel();
    this.#camera(camera);
    this.choose(ref);
  }

  rename(ref: ShapeRef, name: string): void { this.#camera(renameShape(this.camera, ref, name), `name ${ref.kind} ${ref.at}`); }

  remove(ref: ShapeRef): void {
    this.choose(null);
    this.#camera(removeShape(this.camera, ref));
  }

  #points(points: Point[], tag: string | null): void {
    if (this.chosen) this.#camera(setPoints(this.camera, this.chosen, points), tag);
  }

  moveCorner(at: number, to: readonly [number, number], tag: string | null = null): void {
    if (this.selected) this.#points(moveCorner(this.selected.points, at, to), tag);
  }

  moveShape(dx: number, dy: number, tag: string | null = null): void {
    if (this.selected) this.#points(moveAll(this.selected.points, dx, dy), tag);
  }

  insert(edge: number, p: readonly [number, number], tag: string | null = null): void {
    const shape = this.selected;
    if (!shape || shape.kind === 'line') return;
    const points = insertCorner(shape.points, edge, p);
    if (points.length === shape.points.length) return;
    this.#points(points, tag);
    this.corner = edge + 1;
  }

  removeCorner(at: number): void {
    const shape = this.selected;
    if (!shape || shape.kind === 'line') return;
    this.#points(removeCorner(shape.points, at), null);
    if (this.selected) this.corner = Math.min(at, this.selected.points.length - 1);
  }

  turn(): void {
    if (this.selected?.kind === 'line') this.#points([...this.selected.points].reverse(), null);
  }

  // --- Rehearsal ---

  rehearse(): void {
    if (!this.rehearsing || this.document === null) return;
    this.shown = null;
    if (this.complaints.some((c) => !c.warn && /^(zone|line|mask|rule)/.test(c.key))) {
      this.#newest.stop();
      this.trial = { state: 'wrong' };
      return;
    }
    this.#newest.ask(this.camera);
  }

  setRehearsing(on: boolean): void {
    this.rehearsing = on;
    this.#newest.stop();
    this.trial = { state: 'off' };
    if (on) this.rehearse();
  }

  async #rehearse(camera: CameraTable, signal: AbortSignal): Promise<void> {
    const kept = this.trial;
    if (kept.state !== 'ready') this.trial = { state: 'asking' };
    try {
      const result = await api.rehearse(this.node, { camera: rehearsable(camera) }, signal);
      // The newest first: what somebody remembers.
      const firings = [...result.firings].sort((a, b) => b.at_ms - a.at_ms);
      if (!signal.aborted) this.trial = { state: 'ready', result: { ...result, firings } };
    } catch (error) {
      if (!signal.aborted) this.trial = { state: 'refused', error };
    }
  }

  // --- Saving ---

  async save(reason?: string): Promise<Saved> {
    const document = this.document;
    if (document === null || !this.dirty) return 'nothing';
    if (this.complaints.some((c) => !c.warn)) return 'wrong';
    this.saving = true;
    this.rejection = null;
    this.failure = null;
    try {
      const sent = this.draft;
      const { revision } = await api.changeDocument(this.node, document.revision, {
        edits: edits(this.before, sent), ...(reason ? { reason } : {}),
      });
      this.widened = [];
      await this.#after(document, sent, revision);
      return 'saved';
    } catch (error) {
      return this.#refused(error);
    } finally {
      this.saving = false;
    }
  }

  async #after(document: CamerasDocument, sent: Draft, revision: number): Promise<void> {
    // As the node has it now: it may say what it did not before, that there is a password for one.
    const fresh = await api.document(this.node).catch(() => null);
    const draft = fresh ? draftOf(fresh, this.id) : null;
    if (fresh && draft) this.#begin(fresh, draft);
    else this.#begin({ ...document, revision }, { ...sent, camera: withoutPasswords(sent.camera) });
    this.rehearse();
  }

  #refused(error: unknown): Saved {
    switch (codeOf(error)) {
      case 'document-rejected':
        this.rejection = rejectionOf(error);
        return 'rejected';
      case 'consent-needed':
        this.widened = widenedOf(error);
        return 'consent';
      case 'conflict':
        this.overtaken = true;
        this.failure = error;
        return 'conflict';
      case 'node-away':
        this.failure = error;
        return 'away';
      default:
        this.failure = error;
        return 'failed';
    }
  }

  /** The newer document, and my drawing over it. False: the camera is there no more. */
  async catchUp(): Promise<boolean> {
    try {
      const document = await api.document(this.node);
      const theirs = draftOf(document, this.id);
      if (theirs === null) {
        this.missing = true;
        return false;
      }
      const mine = rebase(this.before, this.draft, theirs);
      this.#begin(document, theirs);
      this.#steps = change(begin(theirs), mine);
      this.rehearse();
    } catch (error) {
      this.failure = error;
    }
    return true;
  }

  /** Another camera of the same stream may be shared further without it: the owner is asked for, here too. */
  async removeCamera(reason?: string): Promise<Saved> {
    const document = this.document;
    if (document === null) return 'nothing';
    this.saving = true;
    try {
      await api.changeDocument(this.node, document.revision, { edits: [{ edit: 'remove', id: this.id }], ...(reason ? { reason } : {}) });
      return 'saved';
    } catch (error) {
      return this.#refused(error);
    } finally {
      this.saving = false;
    }
  }
}

function draftOf(document: CamerasDocument, id: string): Draft | null {
  const camera = document.cameras.find((c) => c.id === id);
  return camera ? { camera, schedules: document.schedules } : null;
}
