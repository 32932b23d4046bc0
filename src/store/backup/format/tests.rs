use proptest::prelude::*;

use super::*;

fn about() -> About {
    About {
        made_by: "0.1.0".to_owned(),
        made_at: Timestamp::from_seconds(1_800_000_000),
        from: "embedded".to_owned(),
        schema: 1,
        key: "k".to_owned(),
    }
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
    let mut writer = Writer::begin(&about());
    for piece in pieces {
        writer.add(piece).unwrap();
    }
    writer.end()
}

fn read(bytes: &[u8]) -> Result<Vec<Piece>, FormatError> {
    let mut reader = Reader::begin(bytes)?;
    assert_eq!(*reader.about(), about());
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
    let expected = b"portcullis-backup 1\n{\"made_by\":\"0.1.0\",\"made_at\":1800000000,\"from\":\"embedded\",\"schema\":1,\"key\":\"k\"}\n\
        R\x00\x08client:x\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x03\x01{}\
        R\x00\x05pin:x\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\
        N\x00\x0dturns:clients\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\
        E\x00\x0arevoked:07\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x03g 1\
        Z\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x01";
    assert_eq!(bytes[..expected.len()], *expected);
    assert_eq!(bytes[expected.len()..], *Digest::of(expected).as_bytes());
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
                while reader.piece()?.is_some() {}
                Ok(())
            });
            assert!(refused.is_err(), "bit {bit} of byte {at}");
        }
    }
    let mut flipped = bytes.clone();
    let at = bytes.len() - 60;
    flipped[at] ^= 1;
    assert_eq!(refusal(&flipped), "it is damaged: its checksum does not fit");
}

#[test]
fn what_stands_behind_the_end_is_no_part_of_it() {
    let bytes = written(&some());
    let more = [bytes.as_slice(), b"\n"].concat();
    assert_eq!(refusal(&more), format!("something stands behind its end, at byte {}", bytes.len()));
}

#[test]
fn lengths_are_not_believed_beyond_their_limits() {
    let begun = &written(&[])[..written(&[]).len() - 49];
    let at = begun.len();
    let long_name = [begun, b"R\xff\xff"].concat();
    assert_eq!(refusal(&long_name), format!("it is damaged at byte {at}"));
    let large = [begun, b"R\x00\x01x\0\0\0\0\0\0\0\0\xff\xff\xff\xff"].concat();
    assert_eq!(refusal(&large), format!("it is damaged at byte {at}"));
    let number = [begun, b"N\x00\x01x\0\0\0\0\0\0\0\0\0\0\0\x01x"].concat();
    assert_eq!(refusal(&number), format!("it is damaged at byte {at}"));
    let odd = [begun, b"Q\x00\x01x\0\0\0\0\0\0\0\0\0\0\0\0"].concat();
    assert_eq!(refusal(&odd), format!("it is damaged at byte {at}"));
    let mut writer = Writer::begin(&about());
    let name = "x".repeat(LONGEST_NAME + 1);
    assert_eq!(writer.add(&Piece::Number { name, number: 1 }), Err(TooLarge));
    let bytes = vec![0; LARGEST + 1];
    assert_eq!(writer.add(&Piece::Record { name: "x".to_owned(), bytes, ends: None }), Err(TooLarge));
    assert_eq!(read(&writer.end()).unwrap(), [], "what was refused left nothing behind");
}

#[test]
fn counts_that_do_not_fit_are_noticed_though_the_checksum_does() {
    let bytes = written(&some());
    let mut odd = bytes[..bytes.len() - 32].to_vec();
    let last = odd.len() - 1;
    odd[last] = 2;
    let digest = Digest::of(&odd);
    odd.extend(digest.as_bytes());
    assert_eq!(refusal(&odd), format!("it is damaged at byte {}", bytes.len() - 49));
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
