// A list of cameras from a spreadsheet: comma or semicolon, quotes, the byte order mark that Excel writes.

import { hostOf, SHARINGS, vendorUrl, wantsAccount, type CameraTable, type StreamTable } from './draft';
import { NAME, suggestName } from './identify';

export const MOST_ROWS = 60;
export const COLUMNS = ['id', 'name', 'area', 'lat', 'lon', 'vendor', 'host', 'url', 'user', 'password', 'sharing'] as const;
export type Column = (typeof COLUMNS)[number];

export interface Vendor { id: string; name: string; main: string; sub: string; note_vi: string; note_en: string }

/** One record of the text, and the line it begins on. */
export interface Raw { line: number; cells: string[] }

/** RFC 4180, and what spreadsheets make of it. Null: a quote is never closed. */
export function parseCsv(text: string, delimiter = delimiterOf(text)): Raw[] | null {
  const input = text.replace(/^\uFEFF/, '');
  const rows: Raw[] = [];
  let cells: string[] = [];
  let cell = '';
  let quoted = false;
  let line = 1;
  let begun = 1;
  const endCell = () => { cells.push(cell.trim()); cell = ''; };
  const endRow = () => {
    endCell();
    if (cells.some((c) => c !== '')) rows.push({ line: begun, cells });
    cells = [];
  };
  for (let i = 0; i < input.length; i += 1) {
    const c = input[i]!;
    if (c === '\n' || (c === '\r' && input[i + 1] !== '\n')) line += 1;
    if (quoted) {
      if (c !== '"') cell += c;
      else if (input[i + 1] === '"') { cell += '"'; i += 1; }
      else quoted = false;
    } else if (c === '"' && cell.trim() === '') { quoted = true; cell = ''; }
    else if (c === delimiter) endCell();
    else if (c === '\n' || c === '\r') {
      if (c === '\r' && input[i + 1] === '\n') { i += 1; line += 1; }
      endRow();
      begun = line;
    } else cell += c;
  }
  if (quoted) return null;
  endRow();
  return rows;
}

/** What stands most often in the first line, outside of quotes. */
export function delimiterOf(text: string): string {
  const first = text.replace(/^\uFEFF/, '').split(/\r?\n/, 1)[0]!.replace(/"[^"]*"/g, '');
  const count = (d: string) => first.split(d).length;
  return [',', ';', '\t'].reduce((best, d) => (count(d) > count(best) ? d : best));
}

export interface RowError { column: Column; what: string }
/** `address`: as it may be shown; some makers have the password in it. */
export interface Row { line: number; camera: CameraTable; address: string; errors: RowError[] }
export type Sheet = { rows: Row[] } | { refused: 'quote' | 'empty' | 'many' | 'header'; detail: string };

/** Cameras as they would be put, with all that is wrong with each: nothing is sent before somebody looked at it. */
export function readSheet(text: string, vendors: readonly Vendor[], taken: readonly string[]): Sheet {
  const raw = parseCsv(text);
  if (raw === null) return { refused: 'quote', detail: '' };
  const [head, ...body] = raw;
  if (!head || body.length === 0) return { refused: 'empty', detail: '' };
  const names = head.cells.map((c) => c.toLowerCase());
  const strange = names.find((n) => n !== '' && !(COLUMNS as readonly string[]).includes(n));
  if (strange !== undefined) return { refused: 'header', detail: strange };
  if (!names.includes('url') && !names.includes('host')) return { refused: 'header', detail: 'host, url' };
  if (body.length > MOST_ROWS) return { refused: 'many', detail: String(body.length) };
  const used = [...taken];
  return { rows: body.map(({ line, cells }) => {
    const value = (column: Column) => cells[names.indexOf(column)] ?? '';
    const row = readRow(value, vendors, used);
    if (cells.length > names.length) row.errors.push({ column: COLUMNS[0], what: 'cells' });
    used.push(row.camera.id);
    return { line, ...row };
  }) };
}

function readRow(value: (column: Column) => string, vendors: readonly Vendor[], used: readonly string[]): Omit<Row, 'line'> {
  const errors: RowError[] = [];
  const wrong = (column: Column, what: string) => errors.push({ column, what });
  const given = value('id');
  const id = given || suggestName(value('name') || value('host'), used);
  if (!NAME.test(id)) wrong('id', 'name');
  else if (used.includes(id)) wrong('id', 'twice');
  const { detect, record, address } = streams(value, vendors, wrong);
  const camera: CameraTable = { id, detect };
  if (value('name')) camera.name = value('name');
  if (value('area')) camera.area = value('area');
  if (value('lat') || value('lon')) {
    const [lat, lon] = [decimal(value('lat')), decimal(value('lon'))];
    if (!(Math.abs(lat) <= 90)) wrong('lat', 'number');
    else if (!(Math.abs(lon) <= 180)) wrong('lon', 'number');
    else camera.position = [lat, lon];
  }
  if (value('sharing')) {
    camera.sharing = value('sharing');
    if (!(SHARINGS as readonly string[]).includes(camera.sharing)) wrong('sharing', 'sharing');
  }
  if (record) camera.record = record;
  return { camera, address, errors };
}

function streams(value: (column: Column) => string, vendors: readonly Vendor[], wrong: (column: Column, what: string) => void): { detect: StreamTable; record?: StreamTable; address: string } {
  const login: StreamTable = {};
  if (value('user')) login.user = value('user');
  if (value('password')) login.password = value('password');
  const url = value('url');
  if (url) {
    if (hostOf(url) === null) wrong('url', 'url');
    return { detect: { url, ...login }, address: url };
  }
  const host = value('host');
  if (!/^[a-z0-9.-]+(:\d{1,5})?$/i.test(host)) wrong('host', host ? 'host' : 'address');
  const asked = value('vendor').toLowerCase();
  const vendor = vendors.find((v) => v.id.toLowerCase() === asked || v.name.toLowerCase() === asked);
  if (!vendor) {
    wrong('vendor', 'vendor');
    return { detect: { ...login }, address: host };
  }
  if (wantsAccount(vendor.sub) && !login.password) wrong('password', 'account');
  const at = (template: string): StreamTable => ({ url: vendorUrl(template, host, login.user, login.password), ...login });
  return { detect: at(vendor.sub), record: at(vendor.main), address: vendorUrl(vendor.sub.replaceAll('{password}', '••••'), host, login.user) };
}

/** Spreadsheets here write 21,0193. */
function decimal(text: string): number {
  return text.trim() === '' ? NaN : Number(text.replace(',', '.'));
}

export function sheetTemplate(): string {
  const rows = [
    COLUMNS.join(','),
    'ngo-12-dau,Đầu ngõ 12,Tổ 5,21.0193,105.8262,hikvision,192.168.1.20,,viewer,,events_only',
    ',"Sân sau, số 7",Tổ 5,,,,,rtsp://192.168.1.21:554/live/sub,viewer,,on_request',
  ];
  return `\uFEFF${rows.join('\r\n')}\r\n`;
}
