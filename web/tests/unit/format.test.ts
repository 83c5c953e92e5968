import { createHash } from 'node:crypto';
import { describe, expect, test, vi } from 'vitest';
import * as f from '../../src/lib/format';
import { sha256 } from '../../src/lib/sha256';
import { stillName } from '../../src/lib/still';

const VN = 'Asia/Ho_Chi_Minh';
const at = Date.parse('2026-11-24T18:03:09+07:00');

describe('times', () => {
  test('are written dd/MM/yyyy HH:mm in the site’s zone, not in the browser’s', () => {
    expect(f.dateTime(at, VN)).toBe('24/11/2026 18:03');
    expect(f.dateTimeSeconds(at, VN)).toBe('24/11/2026 18:03:09');
    expect(f.dateTime(at, 'Europe/Paris')).toBe('24/11/2026 12:03');
  });

  test('midnight is 00:00 of the day that begins', () => {
    expect(f.dateTime(Date.parse('2026-11-25T00:00:00+07:00'), VN)).toBe('25/11/2026 00:00');
  });

  test('are read back to the same moment', () => {
    for (const zone of [VN, 'Europe/Paris', 'America/Sao_Paulo', 'Asia/Kathmandu']) {
      for (const text of ['24/11/2026 18:03', '01/01/2026 00:00', '29/03/2026 12:00']) {
        expect(f.dateTime(f.parseDateTime(text, zone)!, zone)).toBe(text);
      }
    }
  });

  test('that are none are refused', () => {
    for (const text of ['', '31/02/2026', '24/13/2026 10:00', '24/11/2026 24:00', '24/11/2026 10:60', '2026-11-24', '11/24/2026']) {
      expect(f.parseDateTime(text, VN), text).toBeNull();
    }
  });

  test('days begin at the site’s midnight, over the end of a month too', () => {
    expect(f.dateTime(f.startOfDay(at, VN), VN)).toBe('24/11/2026 00:00');
    expect(f.dateTime(f.addDays(Date.parse('2026-11-30T23:30:00+07:00'), 1, VN), VN)).toBe('01/12/2026 00:00');
    expect(f.dateTime(f.addDays(Date.parse('2026-01-01T05:00:00+07:00'), -1, VN), VN)).toBe('31/12/2025 00:00');
  });

  test('a duration says what matters', () => {
    const units = { second: 's', minute: 'min', hour: 'h', day: 'd' };
    expect([5_000, 150_000, 4 * 3_600_000 + 120_000, 49 * 3_600_000, -5].map((ms) => f.duration(ms, units)))
      .toEqual(['5 s', '2 min', '4 h 2 min', '2 d', '0 s']);
  });
});

test('sizes and a clip’s clock have the sign of the language', () => {
  const write = (sign: string) => (n: number, decimals: number) => n.toFixed(decimals).replace('.', sign);
  expect([1, 512_000, 1_234_567].map((n) => f.bytes(n, write(',')))).toEqual(['1 kB', '512 kB', '1,2 MB']);
  expect([0, 9.96, 72.46, 3_599.99].map((s) => f.clock(s, write('.')))).toEqual(['0:00.0', '0:09.9', '1:12.4', '59:59.9']);
});

test('search text is folded: tone marks, case and đ', () => {
  expect(f.fold('Đầu Ngõ 12, ĐƯỜNG Trường Chinh')).toBe('dau ngo 12, duong truong chinh');
});

test('sha256 is the one everybody knows', () => {
  for (const size of [0, 1, 55, 56, 63, 64, 65, 1000, 70_001]) {
    const data = Uint8Array.from({ length: size }, (_, i) => (i * 31 + 7) & 255);
    expect(sha256(data), String(size)).toBe(createHash('sha256').update(data).digest('hex'));
  }
});

test('a still is named by camera, time and hash, in plain letters', () => {
  expect(stillName('Đầu ngõ 12', at, VN, 'abcdef0123456789')).toBe('dau-ngo-12_20261124-180309_abcdef012345.jpg');
  expect(stillName('Đầu ngõ 12', at, VN, 'abcdef0123456789', 'mp4')).toBe('dau-ngo-12_20261124-180309_abcdef012345.mp4');
});

describe('nights', () => {
  const clock = (text: string) => Date.parse(`${text}+07:00`);
  test('are named by their evening, and run from six to six', () => {
    // Sunday 29/11/2026, in the afternoon: Tuesday night is the fifth night back.
    const tuesday = { from_ms: clock('2026-11-24T18:00'), to_ms: clock('2026-11-25T06:00') };
    expect(f.night(clock('2026-11-29T15:00'), 5, VN)).toEqual(tuesday);
    // At 3 a.m. on Wednesday it is not over: it is tonight.
    expect(f.night(clock('2026-11-25T03:00'), 0, VN)).toEqual(tuesday);
    expect(f.night(clock('2026-11-25T12:01'), 1, VN)).toEqual(tuesday);
    expect(f.night(clock('2026-12-01T09:00'), 6, VN)).toEqual(tuesday);
  });
  test('are as long as the clocks make them', () => {
    // Paris, the night in which the clocks go back.
    const { from_ms, to_ms } = f.night(Date.parse('2026-10-25T11:00:00+01:00'), 0, 'Europe/Paris');
    expect(to_ms - from_ms).toBe(13 * 3_600_000);
  });
});

test('on a day on which clocks are changed each moment has its own time', () => {
  const zone = 'Europe/Berlin';
  const change = Date.UTC(2026, 9, 25, 1);
  expect([change - 1_000, change, change + 3_600_000].map((ms) => f.dateTimeSeconds(ms, zone))).toEqual([
    '25/10/2026 02:59:59', '25/10/2026 02:00:00', '25/10/2026 03:00:00',
  ]);
  expect(f.wallTime(Date.UTC(1999, 11, 31, 23, 30), 'Asia/Ho_Chi_Minh')).toEqual({ year: 2000, month: 1, day: 1, hour: 6, minute: 30, second: 0, weekday: 6 });
  expect(f.wallTime(Date.UTC(2026, 0, 1, 2) + 999, 'America/St_Johns')).toEqual({ year: 2025, month: 12, day: 31, hour: 22, minute: 30, second: 0, weekday: 3 });
});

test('what the centre says of its clocks saves asking the browser, and holds only as long as it says', () => {
  const zone = 'Europe/Madrid';
  const [spring, autumn] = [Date.UTC(2026, 2, 29, 1), Date.UTC(2026, 9, 25, 1)];
  const edges = [spring - 1, spring, spring + 86_400_000, autumn - 1, autumn];
  const asked = edges.map((ms) => f.dateTimeSeconds(ms, zone));
  f.tellOffset(zone, { seconds: 7_200, from_ms: spring, to_ms: autumn });
  expect(edges.map((ms) => f.dateTimeSeconds(ms, zone))).toEqual(asked);
  const format = vi.spyOn(Intl, 'DateTimeFormat').mockImplementation(() => { throw new Error('asked'); });
  // Of a zone that was asked for never before.
  f.tellOffset('Asia/Vientiane', { seconds: 25_200, from_ms: null, to_ms: null });
  expect(f.dateTime(Date.UTC(2026, 10, 30, 17, 5), 'Asia/Vientiane')).toBe('01/12/2026 00:05');
  expect(format).not.toHaveBeenCalled();
  format.mockRestore();
});
