import { describe, expect, test } from 'vitest';
import {
  about, addRule, addShape, complaints, edits, forgetPassword, hostOf, keepsPassword, outgoing, overnight, put, rebase, rehearsable, removeShape, renameShape,
  setPoints, setRule, setRuleKind, setStream, shapes, vendorUrl, withoutPasswords, type CameraTable, type Draft,
} from '../../src/lib/draft';
import { suggestName } from '../../src/lib/identify';
import type { Point } from '../../src/lib/types';

const triangle: Point[] = [[0, 0], [1, 0], [0, 1]];
const camera: CameraTable = {
  id: 'ngo-12', name: 'Ngõ 12', sharing: 'events_only', not_known_here: { a: [1] },
  detect: { url_withheld: true, host: '10.0.0.9:554', user: 'viewer', password_set: true, fps: 5 },
  record: { url: 'rtsp://10.0.0.9/main', user: 'viewer', password_set: true },
  mask: [{ polygon: triangle }],
  zone: [{ name: 'san', polygon: triangle }, { name: 'cong', polygon: triangle }],
  line: [{ name: 'ranh', points: [[0, 0.5], [1, 0.5]] }],
  rule: [
    { name: 'vao', kind: 'intrusion', zones: ['san', 'cong'], min_move: 0.4, not_known_here: 7 },
    { name: 'qua', kind: 'line_crossing', line: 'ranh', direction: 'both' },
  ],
};
const draft: Draft = { camera, schedules: [{ name: 'dem', windows: [{ from: '22:00', to: '05:00' }] }] };
const wrong = (c: CameraTable) => complaints({ ...draft, camera: c }).filter((x) => !x.warn).map((x) => `${x.key} ${x.what}`);

describe('from the document to the page and back', () => {
  test('nothing changed is nothing to send', () => {
    expect(edits(draft, structuredClone(draft))).toEqual([]);
  });

  test('what the page has no field for stays, what the node only tells is left out', () => {
    const now = { ...draft, camera: setRule(camera, 0, 'dwell_seconds', 9) };
    const [edit] = edits(draft, now);
    expect(edit).toMatchObject({ edit: 'put', camera: { not_known_here: { a: [1] }, rule: [{ not_known_here: 7 }, {}] } });
    expect(JSON.stringify(edit)).not.toMatch(/password_set|url_withheld|"host"/);
    expect(outgoing(camera).detect).toEqual({ user: 'viewer', fps: 5 });
  });

  test('what is empty is left at its default', () => {
    expect(put({ a: 1, b: 2 }, 'a', '')).toEqual({ b: 2 });
    expect(put({ a: 1 }, 'a', Number.NaN)).toEqual({});
    expect(put({ a: 1 }, 'a', false)).toEqual({ a: false });
  });

  test('a new schedule goes before the camera that names it, an old one after it', () => {
    const now: Draft = { camera: setRule(camera, 0, 'schedule', 'trua'), schedules: [{ name: 'trua', windows: [{ from: '12:00', to: '13:30' }] }] };
    expect(edits(draft, now).map((e) => e.edit)).toEqual(['put_schedule', 'put', 'remove_schedule']);
  });

  test('no password goes into a rehearsal or is put aside', () => {
    const typed = setStream(setStream(camera, 'detect', 'password', 'hunter2'), 'record', 'password', 'hunter2');
    expect(JSON.stringify(outgoing(typed))).toContain('hunter2');
    expect(JSON.stringify(withoutPasswords(typed))).not.toContain('hunter2');
    const inAddress = setStream(typed, 'detect', 'url', 'rtsp://10.0.0.9/user=a&password=hunter2');
    expect(JSON.stringify(rehearsable(inAddress))).not.toContain('hunter2');
    expect(rehearsable(inAddress)).toMatchObject({ detect: { fps: 5 }, zone: camera.zone, rule: camera.rule });
  });
});

describe('a password stays', () => {
  const old = camera.detect;
  test('with host, port and user', () => {
    expect(keepsPassword(old, { ...old, fps: 9 })).toBe(true);
    expect(keepsPassword(old, { user: 'viewer', url: 'rtsp://10.0.0.9/other' })).toBe(true);
    expect(keepsPassword(camera.record, { user: 'viewer', url: 'rtsp://10.0.0.9:554/x' })).toBe(true);
  });

  test('with no other host, port or user', () => {
    expect(keepsPassword(old, { user: 'viewer', url: 'rtsp://10.0.0.10/main' })).toBe(false);
    expect(keepsPassword(old, { user: 'viewer', url: 'rtsp://10.0.0.9:8554/main' })).toBe(false);
    expect(keepsPassword(old, { ...old, user: 'admin' })).toBe(false);
    expect(keepsPassword({ password_set: false }, {})).toBe(false);
    expect(keepsPassword({ password_set: true, url: 'rtsps://h:322/a' }, { url: 'rtsp://h:322/a' })).toBe(false);
  });

  test('hosts are told apart without what stands before an @', () => {
    expect(hostOf('rtsp://a:b@Cam-1/x')).toBe('cam-1:554');
    expect(hostOf('rtsps://cam-1')).toBe('cam-1:322');
    expect(hostOf('http://cam-1')).toBeNull();
    expect(hostOf('file:/etc/passwd')).toBeNull();
  });

  test('a vendor’s address takes another port', () => {
    expect(vendorUrl('rtsp://{host}:554/a', '10.0.0.1')).toBe('rtsp://10.0.0.1:554/a');
    expect(vendorUrl('rtsp://{host}:554/a', '10.0.0.1:8554')).toBe('rtsp://10.0.0.1:8554/a');
    expect(vendorUrl('rtsp://{host}/a', '10.0.0.1:8554')).toBe('rtsp://10.0.0.1:8554/a');
  });

  test('a vendor’s address takes an account, whatever letters it has', () => {
    expect(vendorUrl('rtsp://{host}/user={user}&password={password}', 'h', 'an', '$&/@{host}')).toBe('rtsp://h/user=an&password=%24%26%2F%40%7Bhost%7D');
  });

  test('and goes, when that is said', () => {
    const none = forgetPassword(camera, 'detect');
    expect(keepsPassword(old, none.detect)).toBe(false);
    expect(outgoing(none).detect.password).toBe('');
    // So does a user: one that is not said is the one that was.
    const nobody = setStream(camera, 'detect', 'user', '');
    expect(outgoing(nobody, camera).detect.user).toBe('');
    expect(outgoing(camera, camera).detect.user).toBe('viewer');
  });
});

describe('shapes', () => {
  test('are added with a name that is free', () => {
    const [one, ref] = addShape(camera, 'zone', triangle, 'Vùng');
    const [two] = addShape(one, 'zone', triangle, 'Vùng');
    expect(ref).toEqual({ kind: 'zone', at: 2 });
    expect(two.zone!.map((z) => z.name)).toEqual(['san', 'cong', 'vung', 'vung-2']);
  });

  test('change their points and nothing else', () => {
    const moved = setPoints(camera, { kind: 'mask', at: 0 }, [[0.1, 0.1], [1, 0], [0, 1]]);
    expect(moved.mask).toEqual([{ polygon: [[0.1, 0.1], [1, 0], [0, 1]] }]);
    expect({ ...moved, mask: camera.mask }).toEqual(camera);
  });

  test('take their rules along when they are renamed', () => {
    expect(renameShape(camera, { kind: 'zone', at: 0 }, 'san-sau').rule![0]!.zones).toEqual(['san-sau', 'cong']);
    expect(renameShape(camera, { kind: 'line', at: 0 }, 'cua').rule![1]!.line).toBe('cua');
  });

  test('leave their rules when they are removed, and the rule says what it lacks', () => {
    let c = removeShape(camera, { kind: 'zone', at: 0 });
    expect(c.rule![0]!.zones).toEqual(['cong']);
    expect(wrong(c)).toEqual([]);
    c = removeShape(removeShape(c, { kind: 'zone', at: 0 }), { kind: 'line', at: 0 });
    expect(c).not.toHaveProperty('zone');
    expect(wrong(c)).toEqual(['rule[0].zones zones', 'rule[1].line line']);
  });

  test('are listed with what they are', () => {
    expect(shapes(camera).map((s) => `${s.kind} ${s.name}`)).toEqual(['zone san', 'zone cong', 'line ranh', 'mask 1']);
  });
});

describe('rules', () => {
  test('of another kind lose the keys that it would refuse, and keep what is not known', () => {
    const c = setRuleKind(camera, 0, 'line_crossing');
    expect(c.rule![0]).toEqual({ name: 'vao', kind: 'line_crossing', line: 'ranh', not_known_here: 7 });
    expect(setRuleKind(c, 0, 'loitering').rule![0]).toMatchObject({ kind: 'loitering', zones: ['san'], dwell_seconds: 60 });
  });

  test('are added over what is chosen', () => {
    expect(addRule(camera, 'intrusion', 'Xâm nhập', { kind: 'zone', at: 1 }).rule!.at(-1)).toEqual({ name: 'xam-nhap', kind: 'intrusion', zones: ['cong'] });
    expect(addRule(camera, 'line_crossing', 'Vượt ranh').rule!.at(-1)).toEqual({ name: 'vuot-ranh', kind: 'line_crossing', line: 'ranh' });
  });

  test('say what is wrong before the node does', () => {
    expect(wrong(camera)).toEqual([]);
    expect(wrong(setRule(camera, 0, 'schedule', 'khong-co'))).toEqual(['rule[0].schedule schedule']);
    expect(wrong(setRule(camera, 1, 'name', 'vao'))).toEqual(['rule[1].name twice']);
    expect(wrong(setRule(camera, 0, 'name', 'Vào'))).toEqual(['rule[0].name name']);
    expect(wrong(setRule(camera, 0, 'labels', []))).toEqual(['rule[0].labels labels']);
    expect(wrong(setRule(setRuleKind(camera, 0, 'loitering'), 0, 'dwell_seconds', undefined))).toEqual(['rule[0].dwell_seconds dwell']);
    expect(wrong(setStream(camera, 'detect', 'url', 'http://x'))).toEqual(['detect.url url']);
  });

  test('a shape that crosses itself is warned of and can be saved', () => {
    const c = setPoints(camera, { kind: 'zone', at: 0 }, [[0, 0], [1, 1], [1, 0], [0, 1]]);
    expect(complaints({ ...draft, camera: c })).toEqual([{ key: 'zone[0]', what: 'crosses', warn: true }]);
  });

  test('a schedule needs times and days', () => {
    const of = (window: { from: string; to: string; days?: string[] }) => complaints({ camera, schedules: [{ name: 'dem', windows: [window] }] }).length;
    expect(of({ from: '22:00', to: '24:00' })).toBe(0);
    expect(of({ from: '24:00', to: '05:00' })).toBe(1);
    expect(of({ from: '7:00', to: '25:00' })).toBe(1);
    expect(of({ from: '07:00', to: '08:00', days: [] })).toBe(1);
    expect([overnight({ from: '22:00', to: '05:00' }), overnight({ from: '12:00', to: '13:00' }), overnight({ from: '18:00', to: '24:00' })]).toEqual([true, false, false]);
  });
});

describe('over a newer document', () => {
  test('mine is what I touched, theirs is the rest', () => {
    const theirs: Draft = {
      camera: { ...camera, name: 'Ngõ mười hai', recording: { mode: 'events' } },
      schedules: [...draft.schedules, { name: 'trua', windows: [{ from: '12:00', to: '13:00' }] }],
    };
    const mine: Draft = { camera: removeShape(camera, { kind: 'mask', at: 0 }), schedules: [] };
    const both = rebase(draft, mine, theirs);
    expect(both.camera).toMatchObject({ name: 'Ngõ mười hai', recording: { mode: 'events' } });
    expect(both.camera).not.toHaveProperty('mask');
    expect(both.schedules.map((s) => s.name)).toEqual(['trua']);
  });

  test('a schedule that both changed is mine', () => {
    const later = (from: string): Draft => ({ camera, schedules: [{ name: 'dem', windows: [{ from, to: '05:00' }] }] });
    expect(rebase(draft, later('21:00'), later('23:00')).schedules).toEqual(later('21:00').schedules);
  });
});

test('a complaint finds its field', () => {
  expect(about('rule[0].zones', 'rule[0].zones')).toBe(true);
  expect(about('rule.0.zones[1]', 'rule[0].zones')).toBe(true);
  expect(about('camera.detect.url', 'detect.url')).toBe(true);
  expect(about('rule[1].zones', 'rule[0].zones')).toBe(false);
  expect(about('rule[10].name', 'rule[1].name')).toBe(false);
});

test('names are made of what people write', () => {
  expect(suggestName('Đầu ngõ 12 (Tổ 5)', [])).toBe('dau-ngo-12-to-5');
  expect(suggestName('Đầu ngõ', ['dau-ngo', 'dau-ngo-2'])).toBe('dau-ngo-3');
  expect(suggestName('中', [], 'zone')).toBe('zone');
  expect(suggestName('a'.repeat(90), []).length).toBeLessThanOrEqual(64);
});
