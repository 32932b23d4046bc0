use std::io;

use bytes::BytesMut;
use proptest::prelude::*;

use super::{Chunks, Found, Framing};

/// What a framing makes of bytes that come in these pieces: the data, and what is left after the end; `None` if that has not
/// come.
fn decoded(mut framing: Framing, pieces: &[&[u8]]) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let (mut buffer, mut data) = (BytesMut::new(), Vec::new());
    let mut pieces = pieces.iter();
    loop {
        match framing.find(&mut buffer)? {
            Found::Data(length) => data.extend_from_slice(&buffer.split_to(length)),
            Found::End => {
                let rest = pieces.fold(buffer.to_vec(), |rest, piece| [&rest, *piece].concat());
                return Ok(Some((data, rest)));
            }
            Found::More => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => return Ok(None),
            },
        }
    }
}

fn chunked(text: &str) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let whole = decoded(Framing::Chunked(Chunks::default()), &[text.as_bytes()]);
    let bytes: Vec<_> = text.as_bytes().chunks(1).collect();
    let by_bytes = decoded(Framing::Chunked(Chunks::default()), &bytes);
    assert_eq!(whole.as_ref().ok(), by_bytes.as_ref().ok(), "{text:?}: it matters how it comes");
    whole
}

#[test]
fn chunks_are_put_together_and_end_where_they_say() {
    for (text, data, rest) in [
        ("0\r\n\r\n", "", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "hello!", ""),
        ("A;name=value\r\n0123456789\r\n0;x\r\n\r\n", "0123456789", ""),
        ("5 \t;x\r\nhello\r\n000\r\n\r\n", "hello", ""),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n", ""),
        ("1\r\nx\r\n0\r\nTrailer: read over\r\nX-User-Id: root\r\n\r\nHTTP/1.1 200", "x", "HTTP/1.1 200"),
    ] {
        let (found, left) = chunked(text).unwrap().unwrap();
        assert_eq!((&*found, &*left), (data.as_bytes(), rest.as_bytes()), "{text:?}");
    }
}

#[test]
fn what_are_no_chunks_is_an_error() {
    for text in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "+1\r\nx\r\n",
        "0x1\r\nx\r\n",
        "1 1\r\nx\r\n",
        " 1\r\nx\r\n",
        "1,1\r\nx\r\n",
        "11111111111111111\r\nx\r\n",
        "1\nx\r\n0\r\n\r\n",
        "1\r\r\nx\r\n",
        "1\r\nx0\r\n\r\n",
        "1\r\nxy\r\n",
        "1\r\nx\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\nTrailer\n\r\n",
    ] {
        assert!(chunked(text).is_err(), "{text:?}");
    }
    assert!(chunked(&format!("1;{}\r\n", "x".repeat(300))).is_err(), "an extension without end");
    let trailers = "x: y\r\n".repeat(4_000);
    assert!(chunked(&format!("0\r\n{trailers}\r\n")).is_err(), "trailers without end");
}

#[test]
fn chunks_that_are_not_all_there_are_waited_for() {
    let text = "5;x\r\nhello\r\n0\r\nTrailer: x\r\n\r\n";
    for end in 0..text.len() {
        assert_eq!(chunked(&text[..end]).unwrap(), None, "{:?}", &text[..end]);
    }
}

#[test]
fn a_length_is_not_read_beyond() {
    let length = |length, pieces: &[&[u8]]| decoded(Framing::Length(length), pieces).unwrap();
    assert_eq!(length(0, &[b"next"]), Some((b"".to_vec(), b"next".to_vec())));
    assert_eq!(length(5, &[b"he", b"llonext"]), Some((b"hello".to_vec(), b"next".to_vec())));
    assert_eq!(length(5, &[b"hell"]), None);
    assert_eq!(length(u64::MAX, &[b"x"]), None);
}

proptest! {
    #[test]
    fn whatever_is_sent_in_chunks_comes_out_whatever_the_pieces(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
        extension in "(;[a-z]{1,8}(=[a-z\"]{0,8})?)?",
        cuts in prop::collection::vec(1..24_usize, 1..20),
    ) {
        let mut sent = Vec::new();
        for chunk in &chunks {
            sent.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
            sent.extend_from_slice(chunk);
            sent.extend_from_slice(b"\r\n");
        }
        sent.extend_from_slice(b"0\r\n\r\nrest");
        let (mut pieces, mut left, mut cut) = (Vec::new(), &*sent, cuts.iter().cycle());
        while !left.is_empty() {
            let (piece, more) = left.split_at(left.len().min(*cut.next().unwrap()));
            pieces.push(piece);
            left = more;
        }
        let (data, rest) = decoded(Framing::Chunked(Chunks::default()), &pieces).unwrap().unwrap();
        prop_assert_eq!(data, chunks.concat());
        prop_assert_eq!(rest, b"rest");
    }

    #[test]
    fn no_bytes_make_the_reader_of_chunks_panic_or_mind_how_they_come(
        bytes in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'2'), Just(b';'), any::<u8>()], 0..60),
    ) {
        let whole = decoded(Framing::Chunked(Chunks::default()), &[&bytes]);
        let pieces: Vec<_> = bytes.chunks(1).collect();
        let by_bytes = decoded(Framing::Chunked(Chunks::default()), &pieces);
        prop_assert_eq!(whole.ok(), by_bytes.ok());
    }
}
