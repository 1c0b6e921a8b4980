//! Which pictures are taken: PNG, JPEG and WebP, small, square. The file's own header says what it is, not its name or what
//! the browser claims; SVG, which can hold scripts, is none of them. Nothing is decoded: a browser does that, in a sandbox.

use countersign_store::SenderPicture;
use ring::digest::{SHA256, digest};

/// Bytes of a picture.
pub(crate) const MAX_BYTES: usize = 32 * 1024;
/// Pixels of its side.
pub(crate) const MAX_SIDE: u32 = 512;
/// As what pictures are served.
pub(crate) const KINDS: [&str; 3] = ["image/png", "image/jpeg", "image/webp"];

/// Checks an uploaded file.
pub(crate) fn check(bytes: Vec<u8>) -> Result<SenderPicture, String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!(
            "The picture has {} KiB, and at most {} KiB have room: make it smaller.",
            bytes.len().div_ceil(1024),
            MAX_BYTES / 1024
        ));
    }
    let Some((kind, [width, height])) = png(&bytes).or_else(|| jpeg(&bytes)).or_else(|| webp(&bytes)) else {
        return Err("This file is no PNG, JPEG or WebP picture.".to_owned());
    };
    if width != height {
        return Err(format!(
            "The picture has {width} × {height} pixels: cut it to a square."
        ));
    }
    if !(1..=MAX_SIDE).contains(&width) {
        return Err(format!(
            "The picture has {width} × {height} pixels, and at most {MAX_SIDE} × {MAX_SIDE} have room: make it smaller."
        ));
    }
    let hash = digest(&SHA256, &bytes);
    let first: [u8; 8] = at(hash.as_ref(), 0).unwrap_or_default();
    Ok(SenderPicture {
        kind: kind.to_owned(),
        hash: format!("{:016x}", u64::from_be_bytes(first)),
        bytes,
    })
}

type Found = Option<(&'static str, [u32; 2])>;

fn at<const N: usize>(bytes: &[u8], place: usize) -> Option<[u8; N]> {
    bytes.get(place..place + N)?.try_into().ok()
}

/// PNG: its signature, then the chunk IHDR with width and height.
fn png(bytes: &[u8]) -> Found {
    let header = bytes.starts_with(b"\x89PNG\r\n\x1a\n") && at::<8>(bytes, 8)? == *b"\0\0\0\rIHDR";
    let size = [at(bytes, 16)?, at(bytes, 20)?].map(u32::from_be_bytes);
    header.then_some((KINDS[0], size))
}

/// JPEG: segments from the start of the image; the frame header among them has height and width.
fn jpeg(bytes: &[u8]) -> Found {
    if !bytes.starts_with(b"\xff\xd8\xff") {
        return None;
    }
    let mut place = 2;
    loop {
        let [mark, kind] = at(bytes, place)?;
        if mark != 0xff {
            return None;
        }
        match kind {
            // A mark may be filled up with more of its first byte.
            0xff => place += 1,
            // Frame headers: all SOF but the tables DHT, JPG and DAC between them.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                let [height, width] = [at(bytes, place + 5)?, at(bytes, place + 7)?].map(u16::from_be_bytes);
                return Some((KINDS[1], [width.into(), height.into()]));
            }
            // The scan begins, or the image ends, without a frame header.
            0xd8..=0xda => return None,
            _ => place += 2 + usize::from(u16::from_be_bytes(at(bytes, place + 2)?)),
        }
    }
}

/// WebP: a RIFF file whose first chunk is VP8 (lossy), VP8L (lossless) or VP8X (extended).
fn webp(bytes: &[u8]) -> Found {
    if !bytes.starts_with(b"RIFF") || at(bytes, 8)? != *b"WEBP" {
        return None;
    }
    let size = match &at::<4>(bytes, 12)? {
        b"VP8 " if at(bytes, 23)? == [0x9d, 0x01, 0x2a] => {
            // Two bits of each are a scale for showing.
            [at(bytes, 26)?, at(bytes, 28)?].map(|side| u32::from(u16::from_le_bytes(side) & 0x3fff))
        }
        b"VP8L" if at(bytes, 20)? == [0x2f] => {
            let bits = u32::from_le_bytes(at(bytes, 21)?);
            [bits & 0x3fff, bits >> 14 & 0x3fff].map(|side| side + 1)
        }
        b"VP8X" => [at::<3>(bytes, 24)?, at::<3>(bytes, 27)?]
            .map(|[low, middle, high]| u32::from_le_bytes([low, middle, high, 0]) + 1),
        _ => return None,
    };
    Some((KINDS[2], size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png_of(width: u32, height: u32) -> Vec<u8> {
        let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        file.extend(width.to_be_bytes());
        file.extend(height.to_be_bytes());
        file.extend([8, 6, 0, 0, 0, 0, 0, 0, 0]);
        file
    }

    fn jpeg_of(width: u16, height: u16) -> Vec<u8> {
        let mut file = b"\xff\xd8\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xff\xc2\x00\x11\x08".to_vec();
        file.extend(height.to_be_bytes());
        file.extend(width.to_be_bytes());
        file.extend([3, 1, 0x11, 0]);
        file
    }

    fn webp_of(chunk: &[u8]) -> Vec<u8> {
        [b"RIFF\0\0\0\0WEBP".as_slice(), chunk, &[0; 8]].concat()
    }

    #[test]
    fn each_kind_is_told_by_its_header() {
        assert_eq!(png(&png_of(64, 32)), Some(("image/png", [64, 32])));
        assert_eq!(jpeg(&jpeg_of(300, 200)), Some(("image/jpeg", [300, 200])));
        let lossy = webp_of(b"VP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x80\x00\x40\x40");
        assert_eq!(webp(&lossy), Some(("image/webp", [128, 64])));
        let lossless = webp_of(b"VP8L\0\0\0\0\x2f\x7f\xc0\x1f\x00");
        assert_eq!(webp(&lossless), Some(("image/webp", [128, 128])));
        let extended = webp_of(b"VP8X\x0a\0\0\0\0\0\0\0\x7f\0\0\xff\x01\0");
        assert_eq!(webp(&extended), Some(("image/webp", [128, 512])));
    }

    #[test]
    fn a_square_of_the_right_size_is_taken() {
        for file in [png_of(1, 1), png_of(512, 512), jpeg_of(200, 200)] {
            assert!(check(file).is_ok());
        }
        for file in [png_of(513, 513), png_of(0, 0), png_of(64, 32), jpeg_of(200, 100)] {
            assert!(check(file).is_err());
        }
    }

    #[test]
    fn what_is_too_large_or_no_picture_is_refused() {
        let mut large = png_of(64, 64);
        large.resize(MAX_BYTES + 1, 0);
        let refused = check(large).unwrap_err();
        assert!(refused.contains("33 KiB"), "{refused}");
        for file in [
            b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>".as_slice(),
            b"GIF89a\x01\0\x01\0",
            b"<!doctype html>",
            b"",
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff\xda\0\x0c",
            b"\xff\xd8\xff\xe0\0\0",
            b"RIFF\0\0\0\0WEBPVP8 ",
        ] {
            assert!(check(file.to_vec()).is_err(), "{file:?} passed");
        }
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_is_refused_without_a_panic() {
        for file in [png_of(64, 64), jpeg_of(64, 64)] {
            for length in 0..file.len().min(24) {
                let _ = check(file[..length].to_vec());
            }
        }
    }
}
