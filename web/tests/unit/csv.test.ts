import { describe, expect, test } from 'vitest';
import { delimiterOf, MOST_ROWS, parseCsv, readSheet, sheetTemplate, type Sheet, type Vendor } from '../../src/lib/csv';

const vendors: Vendor[] = [
  { id: 'hikvision', name: 'Hikvision', main: 'rtsp://{host}:554/Streaming/Channels/101', sub: 'rtsp://{host}:554/Streaming/Channels/102', note_vi: '', note_en: '' },
  { id: 'xm', name: 'XM', main: 'rtsp://{host}/user={user}&password={password}&s=0', sub: 'rtsp://{host}/user={user}&password={password}&s=1', note_vi: '', note_en: '' },
  { id: 'dahua', name: 'Dahua', main: 'rtsp://{host}:554/m', sub: 'rtsp://{host}:554/s', note_vi: '', note_en: '' },
];
const cells = (text: string) => parseCsv(text)?.map((r) => r.cells);
const rows = (sheet: Sheet) => ('rows' in sheet ? sheet.rows : []);
const read = (text: string, taken: string[] = []) => readSheet(text, vendors, taken);

describe('text into cells', () => {
  test('commas, semicolons and tabs, with or without a mark and returns', () => {
    for (const d of [',', ';', '\t']) {
      expect(cells(`\uFEFFa${d}b\r\n1${d}2\r\n`)).toEqual([['a', 'b'], ['1', '2']]);
    }
    expect(delimiterOf('a;b,c;d')).toBe(';');
    expect(delimiterOf('"a;b;c;d",e')).toBe(',');
  });

  test('quotes hold delimiters, quotes and lines', () => {
    expect(cells('a,b\n"x, ""y""","one\ntwo"\n')).toEqual([['a', 'b'], ['x, "y"', 'one\ntwo']]);
    expect(parseCsv('a,b\n"x,y\n')).toBeNull();
  });

  test('lines are counted as the spreadsheet counts them, empty ones are passed over', () => {
    expect(parseCsv('a,b\r\n\r\n"one\r\ntwo",x\r\n,,\r\n5,6')?.map((r) => r.line)).toEqual([1, 3, 6]);
    expect(parseCsv('a\rb\rc')?.map((r) => r.line)).toEqual([1, 2, 3]);
  });

  test('a quote inside of a cell is only a quote', () => {
    expect(cells('a\n5" ống')).toEqual([['a'], ['5" ống']]);
  });
});

describe('cells into cameras', () => {
  test('by vendor: both streams, with the account of both', () => {
    const [row] = rows(read('name,host,vendor,user,password,lat,lon\nĐầu ngõ 12,10.0.0.9,Hikvision,viewer,"p,""w",21.02,105.8\n'));
    expect(row!.errors).toEqual([]);
    expect(row!.camera).toEqual({
      id: 'dau-ngo-12', name: 'Đầu ngõ 12', position: [21.02, 105.8],
      detect: { url: 'rtsp://10.0.0.9:554/Streaming/Channels/102', user: 'viewer', password: 'p,"w' },
      record: { url: 'rtsp://10.0.0.9:554/Streaming/Channels/101', user: 'viewer', password: 'p,"w' },
    });
  });

  test('by address, with decimal commas, in any order and case of the columns', () => {
    const [row] = rows(read('URL;Lon;LAT;id;Sharing\nrtsp://10.0.0.9/x;105,82;21,01;cong;on_request'));
    expect(row).toEqual({ line: 2, errors: [], address: 'rtsp://10.0.0.9/x', camera: { id: 'cong', position: [21.01, 105.82], sharing: 'on_request', detect: { url: 'rtsp://10.0.0.9/x' } } });
  });

  test('an account that stands in the address is asked for, and not shown', () => {
    const [row, without] = rows(read('name,host,vendor,user,password\na,10.0.0.9,xm,viewer,r&p\nb,10.0.0.8,xm,viewer,'));
    expect(row!.camera.detect.url).toBe('rtsp://10.0.0.9/user=viewer&password=r%26p&s=1');
    expect(row!.address).toBe('rtsp://10.0.0.9/user=viewer&password=••••&s=1');
    expect(without!.errors).toEqual([{ column: 'password', what: 'account' }]);
  });

  test('each wrong cell is named with its column, in its line', () => {
    const sheet = read('id,name,lat,lon,vendor,host,url,sharing\nA b,x,91,105,nobody,10.0.0.1,,all\n,,,,,,http://x,\nk,k,21,,hikvision,bad host,,', []);
    expect(rows(sheet).map((r) => [r.line, r.errors.map((e) => `${e.column} ${e.what}`).sort()])).toEqual([
      [2, ['id name', 'lat number', 'sharing sharing', 'vendor vendor']],
      [3, ['url url']],
      [4, ['host host', 'lon number']],
    ]);
  });

  test('no two have one id, nor the id of one that is there', () => {
    const sheet = read('id,name,url\na,,rtsp://h/1\na,,rtsp://h/2\nold,,rtsp://h/3\n,Old,rtsp://h/4\n,Old,rtsp://h/5', ['old']);
    expect(rows(sheet).map((r) => [r.camera.id, r.errors.map((e) => e.what).join()])).toEqual([['a', ''], ['a', 'twice'], ['old', 'twice'], ['old-2', ''], ['old-3', '']]);
  });

  test('more cells than columns are not dropped unseen', () => {
    expect(rows(read('url,name\nrtsp://h/1,Cổng, số 7'))[0]!.errors.map((e) => e.what)).toEqual(['cells']);
  });

  test('what is no list of cameras is refused whole', () => {
    const refused = (text: string) => { const s = read(text); return 'refused' in s ? `${s.refused} ${s.detail}`.trim() : 'read'; };
    expect(refused('')).toBe('empty');
    expect(refused('id,url')).toBe('empty');
    expect(refused('id,url,motdepasse\na,rtsp://h,x')).toBe('header motdepasse');
    expect(refused('id,name\na,b')).toBe('header host, url');
    expect(refused('id,url\n"a,rtsp://h')).toBe('quote');
    const many = (n: number) => `url\n${'rtsp://h/1\n'.repeat(n)}`;
    expect(refused(many(MOST_ROWS))).toBe('read');
    expect(refused(many(MOST_ROWS + 1))).toBe('many 61');
  });

  test('the template is one that is read', () => {
    const sheet = rows(read(sheetTemplate()));
    expect(sheet.map((r) => r.errors)).toEqual([[], []]);
    expect(sheet.map((r) => r.camera.id)).toEqual(['ngo-12-dau', 'san-sau-so-7']);
    expect(sheetTemplate().startsWith('\uFEFF')).toBe(true);
  });
});
