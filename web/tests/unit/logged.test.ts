import { expect, test } from 'vitest';
import { logged } from '../../src/lib/logged';

const ID = '01a22ba2-45df-766f-8131-0123456789ab';
const said = (action: string, object: string, node: string | null = null) => {
  const { what, of, event } = logged({ action, object, node }, ([n, c]) => `camera ${n}-${c}`);
  return [what, of, event?.id ?? null];
};

test('the log says in plain words what was done to what', () => {
  expect(said('snapshot.view', `thumbnail ${ID}`, 'n')).toEqual(['Xem ảnh', 'ảnh nhỏ của sự kiện', ID]);
  expect(said('snapshot.view', `thumbnails ${ID} ${ID}`, 'n')).toEqual(['Xem ảnh', 'ảnh nhỏ của 2 sự kiện', null]);
  expect(said('event.view', ID, 'n')).toEqual(['Xem sự kiện', 'Sự kiện', ID]);
  expect(said('triage', `own ${ID}`, 'n')).toEqual(['Xử lý sự kiện', 'nhận sự kiện', ID]);
  expect(said('live.view', 'live wall end', 'n')).toEqual(['Xem trực tiếp', 'rời màn hình nhiều camera', null]);
  expect(said('live.view', 'picture ngo-12', 'n')).toEqual(['Xem trực tiếp', 'hình mới nhất', null]);
  expect(said('report.view', 'report 1795993200000 1796036400000')).toEqual(['Xem báo cáo', '30/11/2026 06:00 – 30/11/2026 18:00', null]);
  expect(said('user.view', 'users')).toEqual(['Xem người dùng', '', null]);
});

test('who only looked did not change anything', () => {
  expect(said('camera.edit', 'document node-1')).toEqual(['Mở cấu hình camera', 'node-1', null]);
  expect(said('camera.edit', 'document: camera ngo-12')[0]).toBe('Sửa camera');
  expect(said('camera.edit', 'document, checked only: camera ngo-12')[0]).toBe('Kiểm tra cấu hình, chưa lưu');
  expect(said('camera.edit', 'rehearsal ngo-12')).toEqual(['Thử quy tắc', '', null]);
  expect(said('hold', 'holds')).toEqual(['Xem bản ghi đang lưu giữ', '', null]);
  expect(said('hold', 'hold 1795993200000 1796036400000')[0]).toBe('Lưu giữ bản ghi');
  expect(said('hold', `release ${ID}`, 'n')).toEqual(['Lưu giữ bản ghi', 'thôi lưu giữ', null]);
  expect(said('triage', `release ${ID}`, 'n')).toEqual(['Xử lý sự kiện', 'trả lại sự kiện', ID]);
  expect(said('emergency', `emergency ${ID} declared`)).toEqual(['Khẩn cấp', 'mở chế độ khẩn cấp', null]);
});

test('a search is told by what it asked for', () => {
  expect(said('search', '{}')[1]).toBe('tất cả');
  expect(said('search', '{"severity":["alert"],"state":["new","owned"]}')[1]).toBe('Mức độ: Cảnh báo; Trạng thái: Mới, Đã nhận');
  expect(said('search', '{"camera":["node-1/ngo-12"],"from_ms":1795993200000,"text":"xe tải"}')[1])
    .toBe('Từ 30/11/2026 06:00; Camera: camera node-1-ngo-12; Tìm: xe tải');
  expect(said('log.view', 'log {"action":["export"]}')[1]).toBe('Hành động: Xuất dữ liệu');
  // What was too long to be written down whole, and what nobody here has words for, stands as it is.
  expect(said('search', '{"text":"abc…')[1]).toBe('{"text":"abc…');
  expect(said('search', `{"x":"${'y'.repeat(200)}…`)[1]).toHaveLength(91);
  expect(said('session.open', 'from 127.0.0.1')).toEqual(['Đăng nhập', 'từ 127.0.0.1', null]);
});
