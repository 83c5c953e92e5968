//! How cameras of the brands that are sold here are reached: their addresses of the main and the sub stream. Known from
//! the makers' own documents; models differ, so an address is tried before it is used.

/// A brand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vendor {
    pub id: &'static str,
    pub name: &'static str,
    /// With `{host}` where the address goes; where the maker wants it so, with `{user}` and `{password}`, percent-encoded.
    pub main: &'static str,
    pub sub: &'static str,
    pub note_vi: &'static str,
    pub note_en: &'static str,
    /// Words, in lower case, by which its devices name themselves.
    marks: &'static [&'static str],
}

/// All of them, by name.
pub const VENDORS: &[Vendor] = &[
    Vendor {
        id: "axis",
        name: "Axis",
        main: "rtsp://{host}:554/axis-media/media.amp",
        sub: "rtsp://{host}:554/axis-media/media.amp?resolution=640x360",
        note_vi: "Luồng phụ: cùng địa chỉ, cỡ hình nhỏ hơn.",
        note_en: "The sub stream is the same address with a smaller size.",
        marks: &["axis"],
    },
    Vendor {
        id: "dahua",
        name: "Dahua",
        main: "rtsp://{host}:554/cam/realmonitor?channel=1&subtype=0",
        sub: "rtsp://{host}:554/cam/realmonitor?channel=1&subtype=1",
        note_vi: "Đầu ghi: đổi channel thành số kênh.",
        note_en: "On a recorder change channel to the number of the camera.",
        marks: &["dahua"],
    },
    Vendor {
        id: "ezviz",
        name: "EZVIZ",
        main: "rtsp://{host}:554/h264/ch1/main/av_stream",
        sub: "rtsp://{host}:554/h264/ch1/sub/av_stream",
        note_vi: "Tên đăng nhập: admin; mật khẩu: mã xác minh trên nhãn. Tắt mã hóa hình và bật RTSP trong ứng dụng.",
        note_en: "User admin, password the verification code on the label. Switch image encryption off and RTSP on in the app.",
        marks: &["ezviz"],
    },
    Vendor {
        id: "hanwha",
        name: "Hanwha (Wisenet)",
        main: "rtsp://{host}:554/profile2/media.smp",
        sub: "rtsp://{host}:554/profile3/media.smp",
        note_vi: "Số profile theo trang Video profile của camera; profile1 thường là MJPEG.",
        note_en: "Profile numbers are those of the camera's page Video profile; profile1 is usually MJPEG.",
        marks: &["hanwha", "wisenet", "samsung"],
    },
    Vendor {
        id: "hikvision",
        name: "Hikvision (HiLook)",
        main: "rtsp://{host}:554/Streaming/Channels/101",
        sub: "rtsp://{host}:554/Streaming/Channels/102",
        note_vi: "Đầu ghi: 201 và 202 là kênh 2. Tắt H.264+/H.265+.",
        note_en: "On a recorder 201 and 202 are camera 2. Switch H.264+/H.265+ off.",
        marks: &["hikvision", "hilook", "ds"],
    },
    Vendor {
        id: "imou",
        name: "Imou",
        main: "rtsp://{host}:554/cam/realmonitor?channel=1&subtype=0",
        sub: "rtsp://{host}:554/cam/realmonitor?channel=1&subtype=1",
        note_vi: "Tên đăng nhập: admin; mật khẩu: mã an toàn trên nhãn.",
        note_en: "User admin, password the safety code on the label.",
        marks: &["imou"],
    },
    Vendor {
        id: "kbvision",
        name: "KBVISION",
        main: "rtsp://{host}:554/cam/realmonitor?channel=1&subtype=0",
        sub: "rtsp://{host}:554/cam/realmonitor?channel=1&subtype=1",
        note_vi: "Như Dahua.",
        note_en: "As Dahua.",
        marks: &["kbvision"],
    },
    Vendor {
        id: "milesight",
        name: "Milesight",
        main: "rtsp://{host}:554/main",
        sub: "rtsp://{host}:554/sub",
        note_vi: "",
        note_en: "",
        marks: &["milesight"],
    },
    Vendor {
        id: "reolink",
        name: "Reolink",
        main: "rtsp://{host}:554/Preview_01_main",
        sub: "rtsp://{host}:554/Preview_01_sub",
        note_vi: "Bật RTSP trong Cài đặt > Mạng > Nâng cao > Cổng.",
        note_en: "Switch RTSP on under Settings > Network > Advanced > Port.",
        marks: &["reolink"],
    },
    Vendor {
        id: "tapo",
        name: "TP-Link Tapo",
        main: "rtsp://{host}:554/stream1",
        sub: "rtsp://{host}:554/stream2",
        note_vi: "Tạo tài khoản camera trong ứng dụng Tapo (Cài đặt nâng cao > Tài khoản camera). Camera chạy pin không có RTSP.",
        note_en: "Make a camera account in the Tapo app (Advanced settings > Camera account). Battery models have no RTSP.",
        marks: &["tapo"],
    },
    Vendor {
        id: "tiandy",
        name: "Tiandy",
        main: "rtsp://{host}:554/1/1",
        sub: "rtsp://{host}:554/1/2",
        note_vi: "Số đầu là kênh, số sau là luồng.",
        note_en: "The first number is the camera, the second the stream.",
        marks: &["tiandy"],
    },
    Vendor {
        id: "uniview",
        name: "Uniview (UNV)",
        main: "rtsp://{host}:554/media/video1",
        sub: "rtsp://{host}:554/media/video2",
        note_vi: "Đầu ghi: /unicast/c1/s0/live, s1 là luồng phụ.",
        note_en: "On a recorder /unicast/c1/s0/live; s1 is the sub stream.",
        marks: &["uniview", "unv"],
    },
    Vendor {
        id: "vigi",
        name: "TP-Link VIGI",
        main: "rtsp://{host}:554/stream1",
        sub: "rtsp://{host}:554/stream2",
        note_vi: "Dùng tài khoản của trang quản lý camera.",
        note_en: "The account of the camera's own page.",
        marks: &["vigi"],
    },
    Vendor {
        id: "xiongmai",
        name: "Xiongmai (XM)",
        main: "rtsp://{host}:554/user={user}&password={password}&channel=1&stream=0.sdp?real_stream",
        sub: "rtsp://{host}:554/user={user}&password={password}&channel=1&stream=1.sdp?real_stream",
        note_vi: "Tên đăng nhập và mật khẩu nằm trong địa chỉ; địa chỉ được giữ kín như mật khẩu.",
        note_en: "User and password stand in the address, which is then kept like a password.",
        marks: &["xiongmai", "xmeye"],
    },
    Vendor {
        id: "yoosee",
        name: "Yoosee",
        main: "rtsp://{host}:554/onvif1",
        sub: "rtsp://{host}:554/onvif2",
        note_vi: "Bật RTSP và đặt mật khẩu NVR trong ứng dụng; thường chỉ chạy UDP.",
        note_en: "Switch RTSP on and set the NVR password in the app; usually UDP only.",
        marks: &["yoosee", "gwell"],
    },
];

/// The id of the brand that `text`, which a device says of itself, names.
pub fn guess(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    let named = |mark: &&str| text.split(|c: char| !c.is_alphanumeric()).any(|word| word == *mark);
    VENDORS.iter().find(|v| v.marks.iter().any(named)).map(|v| v.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StreamUrl;

    #[test]
    fn every_address_is_one_once_it_is_filled_in_and_ids_are_their_own() {
        let mut ids: Vec<&str> = VENDORS.iter().map(|v| v.id).collect();
        assert!(ids.is_sorted());
        ids.dedup();
        assert_eq!(ids.len(), VENDORS.len());
        for vendor in VENDORS {
            for template in [vendor.main, vendor.sub] {
                let text = template.replace("{host}", "10.0.0.9").replace("{user}", "a").replace("{password}", "b%26");
                let (url, ..) = StreamUrl::parse(&text).expect(vendor.id);
                assert_eq!((url.host(), url.port()), ("10.0.0.9", 554), "{text}");
                assert!(!text.contains('{'), "{text}");
            }
            assert_ne!(vendor.main, vendor.sub);
        }
    }

    #[test]
    fn a_device_is_known_by_a_whole_word() {
        for (text, id) in [
            ("HIKVISION DS-2CD2043G2", Some("hikvision")),
            ("DS-2CD2043G2-I", Some("hikvision")),
            ("Dahua", Some("dahua")),
            ("TP-Link Tapo C210", Some("tapo")),
            ("IPC-model", None),
            ("adsl", None),
        ] {
            assert_eq!(guess(text), id, "{text}");
        }
    }
}
