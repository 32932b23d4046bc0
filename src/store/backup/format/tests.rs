use proptest::prelude::*;

use super::*;
use crate::store::backup::SEAL;

fn about() -> About {
    About {
        made_by: "0.1.0".to_owned(),
        made_at: Timestamp::from_seconds(1_800_000_000),
        from: "embedded".to_owned(),
        schema: 1,
        key: keys(&sealer()).next().unwrap().0,
    }
}

fn sealer() -> Sealer {
    Sealer::new(Key::new([0x42; 32]))
}

fn other() -> Sealer {
    Sealer::new(Key::new([0x43; 32]))
}

/// The last of a backup that says `text`, from the digest on.
fn trailer(text: &[u8], sealer: &Sealer) -> Vec<u8> {
    let digest = Digest::of(text);
    let seal = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, sealer.derive(SEAL).expose());
    let mac =
        aws_lc_rs::hmac::sign(&seal, &[&[0, 0, 0, 0, 0, 0, 0, 32], digest.as_bytes().as_slice()].concat());
    [digest.as_bytes(), mac.as_ref()].concat()
}

fn some() -> Vec<Piece> {
    vec![
        Piece::Record {
            name: "client:x".to_owned(),
            bytes: b"\x01{}".to_vec(),
            ends: Some(Timestamp::from_seconds(5)),
        },
        Piece::Record { name: "pin:x".to_owned(), bytes: vec![], ends: None },
        Piece::Number { name: "turns:clients".to_owned(), number: 7 },
        Piece::Entry { log: "revoked:07".to_owned(), score: 9, entry: b"g 1".to_vec() },
    ]
}

fn written(pieces: &[Piece]) -> Vec<u8> {
    let mut writer = Writer::begin(&about(), sealer().derive(SEAL));
    for piece in pieces {
        writer.add(piece).unwrap();
    }
    writer.end()
}

fn read(bytes: &[u8]) -> Result<Vec<Piece>, FormatError> {
    let mut reader = Reader::begin(bytes)?;
    assert_eq!(*reader.about(), about());
    assert!(reader.prove(&sealer()));
    rest(&mut reader)
}

fn rest(reader: &mut Reader<&[u8]>) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Vec::new();
    while let Some(piece) = reader.piece()? {
        pieces.push(piece);
    }
    Ok(pieces)
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

/// A backup of today must be readable for ever.
#[test]
fn the_form_does_not_change() {
    let bytes = written(&some());
    let expected = b"portcullis-backup 1\n{\"made_by\":\"0.1.0\",\"made_at\":1800000000,\"from\":\"embedded\",\"schema\":1,\"key\":\"KEY\"}\n\
        R\x00\x08client:x\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x03\x01{}\
        R\x00\x05pin:x\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\
        N\x00\x0dturns:clients\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\
        E\x00\x0arevoked:07\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x03g 1\
        Z\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x01";
    let at = expected.windows(3).position(|three| three == b"KEY").unwrap();
    let expected = [&expected[..at], about().key.as_bytes(), &expected[at + 3..]].concat();
    assert_eq!(about().key, "Ch_3l2nfLwBE5JfZ9hhuns4HTDB27l4Bc1s5-6EVkBs");
    assert_eq!(bytes[..expected.len()], *expected);
    assert_eq!(bytes[expected.len()..], trailer(&expected, &sealer()));
    assert_eq!(read(&bytes).unwrap(), some());
}

#[test]
fn what_is_no_backup_is_told_as_such() {
    assert_eq!(refusal(b""), "it is empty");
    let long = [b'x'; 10_000];
    let others: [&[u8]; 7] = [
        b"x",
        b"SQLite format 3\0",
        b"portcullis-backup",
        b"portcullis-backup \n",
        b"portcullis-backup one\n",
        b"\xff\xfe\n",
        &long,
    ];
    for other in others {
        assert_eq!(refusal(other), "it is no backup of portcullis", "{other:?}");
    }
    assert_eq!(
        refusal(b"portcullis-backup 2\nwhatever it is then"),
        "it has format 2, and this version knows format 1; use the version of portcullis that made it, or a newer one"
    );
    assert_eq!(refusal(b"portcullis-backup 1\nnone\n"), "it is damaged at byte 20");
}

#[test]
fn every_cut_is_told_and_where() {
    let bytes = written(&some());
    for length in 21..bytes.len() {
        let text = format!("it ends too early, at byte {length}: it was cut, or never written whole");
        assert_eq!(refusal(&bytes[..length]), text);
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = written(&some());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let refused = Reader::begin(flipped.as_slice()).and_then(|mut reader| {
                reader.prove(&sealer());
                rest(&mut reader)
            });
            assert!(refused.is_err(), "bit {bit} of byte {at}");
        }
    }
    let mut flipped = bytes.clone();
    let at = bytes.len() - 92;
    flipped[at] ^= 1;
    assert_eq!(refusal(&flipped), "it is damaged: its checksum does not fit");
}

#[test]
fn whoever_changes_it_and_has_no_key_is_found_out() {
    let bytes = written(&some());
    let forged = "it is forged or damaged: its seal is none of secret_key";
    let mut text = bytes[..bytes.len() - 64].to_vec();
    let at = text.windows(8).position(|name| name == b"client:x").unwrap();
    text[at + 7] = b'y';
    // The checksum fits, and the seal is the old one, one of another key, or nothing.
    let digest = Digest::of(&text);
    for seal in [&bytes[bytes.len() - 32..], &trailer(&text, &other())[32..], &[0; 32], digest.as_bytes()] {
        let forgery = [&text, digest.as_bytes().as_slice(), seal].concat();
        assert_eq!(refusal(&forgery), forged);
        // Who has no key either sees nothing of it.
        assert_eq!(rest(&mut Reader::begin(forgery.as_slice()).unwrap()).unwrap().len(), 4);
    }
    assert_eq!(read(&[text.clone(), trailer(&text, &sealer())].concat()).unwrap().len(), 4);
}

#[test]
fn it_is_proved_under_the_key_it_names_and_under_no_other() {
    let bytes = written(&some());
    let previous = other().with_previous(Key::new([0x42; 32]));
    let next = sealer().with_previous(Key::new([0x43; 32]));
    for (sealer, proved) in [(sealer(), true), (previous, true), (next.clone(), true), (other(), false)] {
        let mut reader = Reader::begin(bytes.as_slice()).unwrap();
        assert_eq!(reader.prove(&sealer), proved);
        assert_eq!(rest(&mut reader).unwrap(), some());
    }
    // It names the one, and is sealed under the other.
    let text = &bytes[..bytes.len() - 64];
    let odd = [text, &trailer(text, &other())].concat();
    let mut reader = Reader::begin(odd.as_slice()).unwrap();
    assert!(reader.prove(&next));
    assert!(matches!(rest(&mut reader), Err(FormatError::Forged)));
}

#[test]
fn what_stands_behind_the_end_is_no_part_of_it() {
    let bytes = written(&some());
    let more = [bytes.as_slice(), b"\n"].concat();
    assert_eq!(refusal(&more), format!("something stands behind its end, at byte {}", bytes.len()));
}

#[test]
fn lengths_are_not_believed_beyond_their_limits() {
    let begun = &written(&[])[..written(&[]).len() - 81];
    let at = begun.len();
    let long_name = [begun, b"R\xff\xff"].concat();
    assert_eq!(refusal(&long_name), format!("it is damaged at byte {at}"));
    let large = [begun, b"R\x00\x01x\0\0\0\0\0\0\0\0\xff\xff\xff\xff"].concat();
    assert_eq!(refusal(&large), format!("it is damaged at byte {at}"));
    let number = [begun, b"N\x00\x01x\0\0\0\0\0\0\0\0\0\0\0\x01x"].concat();
    assert_eq!(refusal(&number), format!("it is damaged at byte {at}"));
    let odd = [begun, b"Q\x00\x01x\0\0\0\0\0\0\0\0\0\0\0\0"].concat();
    assert_eq!(refusal(&odd), format!("it is damaged at byte {at}"));
    let mut writer = Writer::begin(&about(), sealer().derive(SEAL));
    let name = "x".repeat(LONGEST_NAME + 1);
    assert_eq!(writer.add(&Piece::Number { name, number: 1 }), Err(TooLarge));
    let bytes = vec![0; LARGEST + 1];
    assert_eq!(writer.add(&Piece::Record { name: "x".to_owned(), bytes, ends: None }), Err(TooLarge));
    assert_eq!(read(&writer.end()).unwrap(), [], "what was refused left nothing behind");
}

#[test]
fn counts_that_do_not_fit_are_noticed_though_the_checksum_does() {
    let bytes = written(&some());
    let mut odd = bytes[..bytes.len() - 64].to_vec();
    let last = odd.len() - 1;
    odd[last] = 2;
    odd.extend(trailer(&odd, &sealer()));
    assert_eq!(refusal(&odd), format!("it is damaged at byte {}", bytes.len() - 81));
}

proptest! {
    #[test]
    fn what_is_written_is_read(pieces in proptest::collection::vec(piece(), 0..20)) {
        prop_assert_eq!(read(&written(&pieces)).unwrap(), pieces);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, from in 0..80_usize) {
        let begun = [&written(&some())[..from], &bytes].concat();
        if let Ok(mut reader) = Reader::begin(begun.as_slice()) {
            while matches!(reader.piece(), Ok(Some(_))) {}
        }
    }
}

fn piece() -> impl Strategy<Value = Piece> {
    let ends = proptest::option::of(0..NEVER).prop_map(|ends| ends.map(Timestamp::from_seconds));
    prop_oneof![
        (".{0,40}", any::<Vec<u8>>(), ends).prop_map(|(name, bytes, ends)| Piece::Record {
            name,
            bytes,
            ends
        }),
        (".{0,40}", any::<u64>()).prop_map(|(name, number)| Piece::Number { name, number }),
        (".{0,40}", any::<u64>(), any::<Vec<u8>>()).prop_map(|(log, score, entry)| Piece::Entry {
            log,
            score,
            entry
        }),
    ]
}
