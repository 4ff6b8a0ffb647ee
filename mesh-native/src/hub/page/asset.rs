//! The files of the page: compressed when they are first asked for, and kept so.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, header};
use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::OnceCell;

use super::Web;

/// Smaller files fit into one packet as they are.
const COMPRESSED_BYTES_MIN: usize = 1_024;

/// Brotli's quality: 10 and 11 save another tenth and take 20 times as long, seconds for the wasm
/// package, in which the first visitor waits.
const BROTLI_QUALITY: i32 = 9;

/// The base-2 logarithm of brotli's window: all of the wasm package.
const BROTLI_WINDOW: i32 = 22;

/// How a file is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    Brotli,
}

/// A file, and its compressed forms as far as they were asked for.
#[derive(Debug)]
pub(super) struct Asset {
    hash: [u8; 32],
    mime: HeaderValue,
    plain: Bytes,
    gzip: OnceCell<Option<Bytes>>,
    brotli: OnceCell<Option<Bytes>>,
}

/// The file of this name, if there is one. While the page is developed files change under a server
/// that reads them from the disk.
pub(super) fn asset(path: &str) -> Option<Arc<Asset>> {
    static ASSETS: Mutex<BTreeMap<String, Arc<Asset>>> = Mutex::new(BTreeMap::new());
    let file = Web::get(path)?;
    let hash = file.metadata.sha256_hash();
    let mut assets = ASSETS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(asset) = assets.get(path).filter(|asset| asset.hash == hash) {
        return Some(Arc::clone(asset));
    }
    let mime = HeaderValue::from_str(file.metadata.mimetype());
    let asset = Arc::new(Asset {
        hash,
        mime: mime.unwrap_or(HeaderValue::from_static("application/octet-stream")),
        plain: match file.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        },
        gzip: OnceCell::new(),
        brotli: OnceCell::new(),
    });
    assets.insert(path.to_owned(), Arc::clone(&asset));
    Some(asset)
}

impl Asset {
    pub(super) fn mime(&self) -> HeaderValue {
        self.mime.clone()
    }

    /// Weak, for it is the same for all encodings.
    pub(super) fn etag(&self) -> HeaderValue {
        let etag = format!("W/\"{}\"", HEXLOWER.encode(&self.hash[..16]));
        HeaderValue::try_from(etag).expect("hexadecimal digits are fine in a header")
    }

    /// Whether the client has it already.
    pub(super) fn is_known(&self, headers: &HeaderMap) -> bool {
        let etag = self.etag();
        let tags = headers.get_all(header::IF_NONE_MATCH).iter();
        let mut tags = tags.flat_map(|tags| tags.as_bytes().split(|byte| *byte == b','));
        tags.any(|tag| tag.trim_ascii() == etag.as_bytes())
    }

    /// Its bytes in the best encoding that is accepted and worth it.
    pub(super) async fn encoded(self: &Arc<Self>, accepted: Encoding) -> (Encoding, Bytes) {
        let kept = match accepted {
            Encoding::Plain => None,
            Encoding::Gzip => self.compressed(&self.gzip, gzip).await,
            Encoding::Brotli => self.compressed(&self.brotli, brotli).await,
        };
        match kept {
            Some(bytes) => (accepted, bytes),
            None => (Encoding::Plain, self.plain.clone()),
        }
    }

    /// Whoever asks at the same time waits for the first.
    async fn compressed(
        &self,
        kept: &OnceCell<Option<Bytes>>,
        compress: fn(&[u8]) -> std::io::Result<Vec<u8>>,
    ) -> Option<Bytes> {
        let compressing = async || {
            let plain = self.plain.clone();
            if plain.len() < COMPRESSED_BYTES_MIN {
                return None;
            }
            let bytes = tokio::task::spawn_blocking(move || {
                let compressed = compress(&plain).ok()?;
                (compressed.len() < plain.len()).then_some(compressed)
            });
            bytes.await.ok().flatten().map(Bytes::from)
        };
        kept.get_or_init(compressing).await.clone()
    }
}

impl Encoding {
    /// The best one that a client accepts (RFC 9110, section 12.5.3).
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let all = headers.get_all(header::ACCEPT_ENCODING).iter();
        let names = all.filter_map(|value| value.to_str().ok());
        let names = names.flat_map(|value| value.split(','));
        let accepted: Vec<_> = names
            .filter_map(|name| {
                let (name, quality) = name.split_once(';').unwrap_or((name, "q=1"));
                let quality = quality.trim().strip_prefix("q=")?.parse::<f32>().ok()?;
                (quality > 0.0).then(|| name.trim().to_ascii_lowercase())
            })
            .collect();
        let accepts = |wanted: &str| accepted.iter().any(|name| name == wanted);
        if accepts("br") {
            Self::Brotli
        } else if accepts("gzip") {
            Self::Gzip
        } else {
            Self::Plain
        }
    }

    /// How `Content-Encoding` names it.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Gzip => Some("gzip"),
            Self::Brotli => Some("br"),
        }
    }
}

fn gzip(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain)?;
    encoder.finish()
}

fn brotli(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let parameters = brotli::enc::BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: BROTLI_WINDOW,
        size_hint: plain.len(),
        ..Default::default()
    };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut &plain[..], &mut compressed, &parameters)?;
    Ok(compressed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_encoding_that_is_accepted_is_taken() {
        for (accepted, encoding) in [
            ("gzip, deflate, br, zstd", Encoding::Brotli),
            ("gzip, deflate", Encoding::Gzip),
            ("br;q=0, GZIP;q=0.5", Encoding::Gzip),
            ("br; q=0", Encoding::Plain),
            ("identity", Encoding::Plain),
            ("br;q=x", Encoding::Plain),
            ("", Encoding::Plain),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, accepted.parse().expect("valid"));
            assert_eq!(Encoding::accepted(&headers), encoding, "{accepted}");
        }
        assert_eq!(Encoding::accepted(&HeaderMap::new()), Encoding::Plain);
    }
}
