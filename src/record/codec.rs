//! What a browser has to be told of a stream before it plays it: the media type with its codec string (RFC 6381), read
//! out of the init part of a fragmented MP4. Pure.

use super::boxes::{children, path};

/// Bytes of a visual sample entry before its own boxes (ISO/IEC 14496-12, 12.1.3).
const ENTRY: usize = 78;

/// For example `video/mp4; codecs="avc1.42c01e"`; `None` for a codec that is neither H.264 nor H.265.
pub fn mime(init: &[u8]) -> Option<String> {
    let described = path(init, &[b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"])?.get(8..)?;
    let inner = |entry: &'static [u8; 4], record: &'static [u8; 4]| {
        children(described, entry).next()?.get(ENTRY..).and_then(|boxes| children(boxes, record).next())
    };
    let codecs = if let Some(record) = inner(b"avc1", b"avcC").or_else(|| inner(b"avc3", b"avcC")) {
        let &[_, profile, constraints, level] = record.first_chunk::<4>()?;
        format!("avc1.{profile:02x}{constraints:02x}{level:02x}")
    } else if let Some(record) = inner(b"hvc1", b"hvcC") {
        format!("hvc1.{}", hevc(record)?)
    } else {
        format!("hev1.{}", hevc(inner(b"hev1", b"hvcC")?)?)
    };
    Some(format!("video/mp4; codecs=\"{codecs}\""))
}

/// Profile, compatibility, tier with level, and constraints (ISO/IEC 14496-15, annex E.3).
fn hevc(record: &[u8]) -> Option<String> {
    let record = record.first_chunk::<13>()?;
    let space = ["", "A", "B", "C"][usize::from(record[1] >> 6)];
    let profile = record[1] & 0x1f;
    let tier = if record[1] & 0x20 == 0 { 'L' } else { 'H' };
    let compatible = u32::from_be_bytes([record[2], record[3], record[4], record[5]]).reverse_bits();
    let constraints = &record[6..12];
    let used = constraints.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    let constraints: String = constraints[..used].iter().map(|b| format!(".{b:X}")).collect();
    Some(format!("{space}{profile}.{compatible:X}.{tier}{}{constraints}", record[12]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 8).to_be_bytes()[..], kind, content].concat()
    }

    fn init(entry: &[u8; 4], record: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let entry = boxed(entry, &[vec![0; ENTRY], boxed(record, content)].concat());
        let stsd = boxed(b"stsd", &[vec![0; 8], entry].concat());
        let wrap = [b"stbl", b"minf", b"mdia", b"trak", b"moov"];
        wrap.iter().fold(stsd, |inner, kind| boxed(kind, &inner))
    }

    #[test]
    fn the_codec_is_said_as_browsers_want_it() {
        let avc = init(b"avc1", b"avcC", &[1, 0x64, 0x00, 0x1f, 0xff]);
        assert_eq!(mime(&avc).as_deref(), Some("video/mp4; codecs=\"avc1.64001f\""));
        // Main profile, as in the standard's example.
        let hevc = [1, 0x01, 0x60, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 93];
        let hevc = init(b"hvc1", b"hvcC", &hevc);
        assert_eq!(mime(&hevc).as_deref(), Some("video/mp4; codecs=\"hvc1.1.6.L93.B0\""));
    }

    #[test]
    fn what_is_cut_off_has_no_codec() {
        let whole = init(b"avc1", b"avcC", &[1, 0x64, 0x00, 0x1f]);
        assert!((0..whole.len()).all(|n| mime(&whole[..n]).is_none()));
        assert_eq!(mime(&init(b"mp4v", b"esds", &[0; 40])), None);
        assert_eq!(mime(&init(b"avc1", b"avcC", &[1, 2])), None);
    }
}
