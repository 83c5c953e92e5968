//! The page is built from `web/` by `make`; without it a placeholder says so. Never runs npm.

use std::path::Path;

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=web/dist/index.html");
    let page = Path::new("web/dist/index.html");
    if !page.exists() {
        std::fs::create_dir_all("web/dist")?;
        std::fs::write(
            page,
            "<!doctype html>\n<html lang=\"vi\">\n<head><meta charset=\"utf-8\"><base href=\"/\"><title>wardwatch</title></head>\n\
             <body><p>Trang chưa được dựng: chạy <code>make page</code> rồi biên dịch lại.</p>\n\
             <p>The page has not been built: run <code>make page</code>, then build again.</p></body>\n</html>\n",
        )?;
    }
    Ok(())
}
