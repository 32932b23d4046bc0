//! A backup: a file that somebody hands over to be restored.

use portcullis::seal::{Sealer, mac};
use portcullis::secret::{Digest, Key, base64url};
use portcullis::store::backup::{FormatError, Piece, Reader, fingerprints, verify};

/// The first two lines of one that was made under this `secret_key`.
fn head(sealer: &Sealer) -> Vec<u8> {
    let key = fingerprints(sealer).next().unwrap();
    let about = format!(r#"{{"made_by":"0.1.0","made_at":1,"from":"redis","schema":1,"key":"{key}"}}"#);
    format!("portcullis-backup 1\n{about}\n").into_bytes()
}

/// No bytes are taken for a backup that was not written as one; whatever pieces can be read out of them, written as a backup they
/// are read again, all of them and no more.
pub(crate) fn backup(data: &[u8]) {
    let sealer = Sealer::new(Key::new([7; 32]));
    if let Ok(reader) = Reader::begin(data) {
        drop(verify(reader, &sealer, |_| {}));
    }
    let begun = [head(&sealer).as_slice(), data].concat();
    let mut reader = Reader::begin(begun.as_slice()).unwrap();
    assert!(reader.prove(&sealer));
    let mut pieces = Vec::new();
    let whole = loop {
        match reader.piece() {
            Ok(Some(piece)) => pieces.push(piece),
            Ok(None) => break true,
            Err(FormatError::Read(error)) => panic!("{error}"),
            Err(_) => break false,
        }
    };
    let written = written(&pieces, &sealer);
    assert_eq!(whole, written == begun, "there is one way to write it");
    let mut again = Reader::begin(written.as_slice()).unwrap();
    assert!(again.prove(&sealer));
    for piece in pieces {
        assert_eq!(again.piece().unwrap(), Some(piece));
    }
    assert_eq!(again.piece().unwrap(), None);
    assert_eq!(again.counts(), reader.counts());
    drop(verify(Reader::begin(written.as_slice()).unwrap(), &sealer, |_| {}));
}

fn written(pieces: &[Piece], sealer: &Sealer) -> Vec<u8> {
    let mut text = head(sealer);
    let (mut records, mut entries) = (0_u64, 0_u64);
    for piece in pieces {
        let (kind, name, number, bytes) = match piece {
            Piece::Record { name, bytes, ends } => {
                (b'R', name, ends.map_or(u64::MAX, |ends| ends.seconds()), bytes.as_slice())
            }
            Piece::Number { name, number } => (b'N', name, *number, [].as_slice()),
            Piece::Entry { log, score, entry } => (b'E', log, *score, entry.as_slice()),
        };
        if kind == b'E' {
            entries += 1
        } else {
            records += 1
        }
        text.push(kind);
        text.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        text.extend(name.as_bytes());
        text.extend(number.to_be_bytes());
        text.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        text.extend(bytes);
    }
    text.push(b'Z');
    text.extend(records.to_be_bytes());
    text.extend(entries.to_be_bytes());
    let digest = Digest::of(&text);
    text.extend(digest.as_bytes());
    let mac = mac(&sealer.derive("backup seal"), &[digest.as_bytes()]);
    text.extend(base64url::<32>(mac.expose()).unwrap());
    text
}
