//! The scanner against streams made by an independent HPACK encoder and read by an independent decoder.

mod stream;

use loona_hpack::Decoder;
use proptest::prelude::*;
use tonic::codegen::http::uri::Authority;

use self::stream::{Expected, Plan, Stream, frame, plan};
use super::*;

/// What comes out when `input` arrives in chunks of these sizes (repeated), as the adapter feeds it.
fn pass(input: &[u8], chunks: &[usize]) -> Result<Vec<u8>, AuthorityError> {
    let mut scanner = Scanner::default();
    let (mut held, mut out, mut rest) = (Vec::new(), Vec::new(), input);
    for size in chunks.iter().cycle() {
        let (chunk, later) = rest.split_at((*size).min(rest.len()));
        rest = later;
        held.extend_from_slice(chunk);
        let safe = scanner.scan(&mut held)?;
        assert!(safe <= held.len());
        out.extend(held.drain(..safe));
        if rest.is_empty() {
            break;
        }
    }
    out.extend(held);
    Ok(out)
}

fn scan_all(input: &[u8]) -> Result<Vec<u8>, AuthorityError> {
    pass(input, &[usize::MAX])
}

/// Preface, SETTINGS, and one HEADERS frame with this block.
fn one_block(block: &[u8]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, END_HEADERS, 1, block)].concat()
}

fn edited_block(block: &[u8]) -> Result<Vec<u8>, AuthorityError> {
    let out = scan_all(&one_block(block))?;
    Ok(out[out.len() - block.len()..].to_vec())
}

fn huffman(text: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    httlib_huffman::encode(text, &mut coded).expect("any byte can be coded");
    coded
}

fn authority_of(block: &[u8]) -> Vec<u8> {
    let fields = Decoder::new().decode(block).expect("a block that decodes");
    fields.into_iter().find(|(name, _)| name == b":authority").expect("an authority").1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn only_authority_changes_and_decoders_stay_in_step(
        plan in plan(),
        chunks in prop::collection::vec(prop_oneof![Just(1_usize), 1..40_usize, 1..20_000_usize], 1..20),
    ) {
        let Stream { bytes, blocks } = Stream::encode(&plan);
        let out = pass(&bytes, &chunks).expect("an honest stream");
        prop_assert_eq!(out.len(), bytes.len());

        let mut decoder = Decoder::new();
        let mut outside = 0;
        for block in &blocks {
            let mut coded = Vec::new();
            for fragment in &block.fragments {
                prop_assert!(out[outside..fragment.start] == bytes[outside..fragment.start]);
                coded.extend_from_slice(&out[fragment.clone()]);
                outside = fragment.end;
            }
            let fields = decoder.decode(&coded).expect("the edited block decodes");
            prop_assert_eq!(fields.len(), block.fields.len());
            for ((name, value), (expected_name, expected)) in fields.iter().zip(&block.fields) {
                prop_assert_eq!(name, expected_name);
                match expected {
                    Expected::Same(expected) => prop_assert_eq!(value, expected),
                    Expected::Legal { length } => {
                        prop_assert_eq!(value.len(), *length);
                        prop_assert!(Authority::try_from(value.as_slice()).is_ok(), "{:?}", value);
                    }
                }
            }
        }
        prop_assert!(out[outside..] == bytes[outside..]);
    }

    #[test]
    fn the_cuts_between_reads_do_not_matter(plan in plan(), chunks in prop::collection::vec(1..300_usize, 1..20)) {
        let bytes = Stream::encode(&plan).bytes;
        prop_assert!(scan_all(&bytes) == pass(&bytes, &chunks));
    }

    #[test]
    fn corrupted_streams_never_panic(
        plan in plan(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30),
        cut in any::<prop::sample::Index>(),
        chunks in prop::collection::vec(1..300_usize, 1..20),
    ) {
        let mut bytes = Stream::encode(&plan).bytes;
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Ok(out) = pass(&bytes, &chunks) {
            prop_assert_eq!(out.len(), bytes.len());
        }
    }

    #[test]
    fn any_huffman_coded_text_becomes_legal_when_it_was_worth_coding(text in prop::collection::vec(prop_oneof![20 => b'-'..=b'z', 1 => any::<u8>()], 1..120)) {
        let coded = huffman(&text);
        prop_assume!(coded.len() <= text.len() && coded.len() < 127);
        let block = edited_block(&[&[0x41, 0x80 | coded.len() as u8], coded.as_slice()].concat()).expect("a block");
        let authority = authority_of(&block);
        prop_assert_eq!(authority.len(), text.len());
        prop_assert!(Authority::try_from(authority.as_slice()).is_ok());
    }
}

#[test]
fn socket_paths_become_legal() {
    for path in ["/tmp/kms.sock", "%2Ftmp%2Fkms.sock", "/a path/ü/:@[]~{}", "/run/#^\\", "@name", "/"] {
        let raw = [&[0x41, path.len() as u8], path.as_bytes()].concat();
        let coded = huffman(path.as_bytes());
        let short = [&[0x41, 0x80 | coded.len() as u8], coded.as_slice()].concat();
        for (block, applies) in [(raw, true), (short, coded.len() <= path.len())] {
            let authority = authority_of(&edited_block(&block).expect(path));
            assert_eq!(authority.len(), path.len(), "{path}");
            assert_eq!(Authority::try_from(authority.as_slice()).is_ok(), applies, "{path}: {authority:?}");
        }
    }
}

#[test]
fn all_three_kinds_of_literal_are_edited() {
    for kind in [0x41, 0x01, 0x11] {
        assert_eq!(edited_block(&[kind, 2, b'/', b'x']), Ok(vec![kind, 2, b'a', b'a']));
    }
}

#[test]
fn localhost_and_empty_values_stay() {
    let coded = huffman(b"localhost");
    assert_eq!(coded, [0xa0, 0xe4, 0x1d, 0x13, 0x9d, 0x09], "as authority.md says");
    for block in [
        [&[0x41, 0x86], coded.as_slice()].concat(),
        [&[0x41, 9], b"localhost".as_slice()].concat(),
        vec![0x41, 0],
        vec![0x41, 0x80],
    ] {
        assert_eq!(edited_block(&block), Ok(block));
    }
}

#[test]
fn values_that_h2_must_judge_stay() {
    let by_name = [&[0x40, 10], b":authority".as_slice(), &[2, b'/', b'x']].concat();
    let indexed_name = [&[0x41, 1, b'a'], &[0x7e, 2, b'/', b'x'][..]].concat();
    // Two bytes of 0xff have no symbol, and three codes of 28 bits do not shrink to 8 bits each.
    let not_huffman = vec![0x41, 0x82, 0xff, 0xff];
    let coded = huffman(&[0x01, 0x02, 0x03]);
    let too_long = [&[0x41, 0x80 | coded.len() as u8], coded.as_slice()].concat();
    for block in [by_name, indexed_name, not_huffman, too_long] {
        assert_eq!(edited_block(&block), Ok(block));
    }
}

#[test]
fn a_value_cut_by_continuation_frames_in_a_padded_block_with_priority_is_edited() {
    let (padding, priority) = ([3_u8], [0, 0, 0, 0, 15]);
    let bytes = |value: &[u8; 6]| {
        [
            PREFACE,
            &frame(
                HEADERS,
                PADDED | PRIORITY,
                1,
                &[&padding[..], &priority, &[0x41, 6, value[0]], &[7; 3]].concat(),
            ),
            &frame(CONTINUATION, 0, 1, &value[1..4]),
            &frame(CONTINUATION, END_HEADERS, 1, &value[4..]),
        ]
        .concat()
    };
    for chunk in 1..80 {
        assert_eq!(pass(&bytes(b"/a/b/c"), &[chunk]), Ok(bytes(b"aaaaaa")));
    }
}

#[test]
fn data_is_never_touched() {
    let looks_like_a_literal = [0x41, 2, b'/', b'x'];
    let bytes =
        [PREFACE, &frame(0, 0, 1, &looks_like_a_literal), &frame(0x77, 4, 1, &looks_like_a_literal)].concat();
    assert_eq!(scan_all(&bytes), Ok(bytes));
}

#[test]
fn broken_streams_are_refused() {
    let after = |frames: &[Vec<u8>]| scan_all(&[PREFACE, &frames.concat()].concat());
    let headers = |flags, content: &[u8]| frame(HEADERS, flags, 1, content);
    let more = |flags, content: &[u8]| frame(CONTINUATION, flags, 1, content);
    let hpack = |error| Err(AuthorityError::Hpack(error));

    assert_eq!(scan_all(b"GET / HTTP/1.1\r\n"), Err(AuthorityError::Preface));
    assert_eq!(scan_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx"), Err(AuthorityError::Preface));
    assert_eq!(after(&[more(END_HEADERS, &[])]), Err(AuthorityError::StrayContinuation));
    assert_eq!(after(&[headers(END_HEADERS, &[]), more(0, &[])]), Err(AuthorityError::StrayContinuation));
    assert_eq!(after(&[headers(0, &[]), frame(0, 0, 1, &[])]), Err(AuthorityError::BrokenBlock { kind: 0 }));
    let elsewhere = frame(CONTINUATION, END_HEADERS, 3, &[]);
    assert_eq!(after(&[headers(0, &[]), elsewhere]), Err(AuthorityError::BrokenBlock { kind: CONTINUATION }));
    assert_eq!(after(&[headers(END_HEADERS | PADDED, &[])]), Err(AuthorityError::Padding));
    assert_eq!(after(&[headers(END_HEADERS | PADDED, &[3, 0, 0])]), Err(AuthorityError::Padding));
    assert_eq!(after(&[headers(END_HEADERS | PRIORITY, &[0; 4])]), Err(AuthorityError::Padding));
    assert_eq!(
        after(&[headers(END_HEADERS | PADDED | PRIORITY, &[1, 0, 0, 0, 0, 0])]),
        Err(AuthorityError::Padding)
    );
    assert_eq!(after(&[headers(END_HEADERS, &[0x41, 5, b'/'])]), hpack(HpackError::Truncated));
    assert_eq!(after(&[headers(END_HEADERS, &[0x41])]), hpack(HpackError::Truncated));
    assert_eq!(after(&[headers(END_HEADERS, &[0xff, 0x80])]), hpack(HpackError::Truncated));
    let too_large = [0x41, 0x7f, 0x80, 0x80, 0x80, 0x80, 0x00];
    assert_eq!(after(&[headers(END_HEADERS, &too_large)]), hpack(HpackError::IntegerTooLarge));
    let mut frames = vec![headers(0, &[])];
    frames.resize(MAX_BLOCK_FRAMES, more(0, &[]));
    assert_eq!(after(&frames), Err(AuthorityError::BlockTooManyFrames));
}

#[test]
fn a_block_over_64_kib_is_refused_before_it_is_read() {
    let whole = frame(HEADERS, END_HEADERS, 1, &vec![0x82; MAX_BLOCK_BYTES]);
    assert!(scan_all(&[PREFACE, &whole].concat()).is_ok());
    let head_only = [0x01, 0x00, 0x01, HEADERS, END_HEADERS, 0, 0, 0, 1];
    assert_eq!(scan_all(&[PREFACE, &head_only].concat()), Err(AuthorityError::BlockTooLarge));
    let first = frame(HEADERS, 0, 1, &vec![0x82; MAX_BLOCK_BYTES]);
    let next_head = [0, 0, 1, CONTINUATION, 0, 0, 0, 0, 1];
    assert_eq!(scan_all(&[PREFACE, &first, &next_head].concat()), Err(AuthorityError::BlockTooLarge));
}

#[test]
fn says_where_the_client_stopped() {
    let mut scanner = Scanner::default();
    let mut feed = |mut bytes: Vec<u8>| {
        let safe = scanner.scan(&mut bytes).expect("legal");
        (safe, scanner.greeted(), scanner.midway(), scanner.finished())
    };
    let settings = frame(SETTINGS, 0, 0, &[0; 6]);
    assert_eq!(feed(PREFACE[..10].to_vec()), (10, false, false, 0));
    assert_eq!(feed(PREFACE[10..].to_vec()), (14, false, false, 0));
    assert_eq!(feed(frame(SETTINGS, ACK, 0, &[])), (9, false, false, 1));
    assert_eq!(feed(settings[..4].to_vec()), (0, false, true, 1));
    assert_eq!(feed(settings[..12].to_vec()), (12, true, true, 1));
    assert_eq!(feed(settings[12..].to_vec()), (3, true, false, 2));
    let block = frame(HEADERS, 0, 1, &[0x82]);
    assert_eq!(feed(block.clone()), (0, true, true, 2));
    assert_eq!(feed([block, frame(CONTINUATION, END_HEADERS, 1, &[])].concat()), (19, true, false, 3));
}

#[test]
fn plans_reach_what_the_property_tests_are_about() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut edited, mut kept, mut indexed, mut cut) = (0, 0, 0, 0);
    for _ in 0..300 {
        let plan: Plan = plan().new_tree(&mut runner).expect("a plan").current();
        let stream = Stream::encode(&plan);
        for block in &stream.blocks {
            cut += usize::from(block.fragments.len() > 1);
            indexed += block.indexed_authorities;
            for (name, value) in &block.fields {
                if name == b":authority" {
                    match value {
                        Expected::Legal { .. } => edited += 1,
                        Expected::Same(_) => kept += 1,
                    }
                }
            }
        }
    }
    assert!(edited > 100 && kept > 50 && indexed > 20 && cut > 100, "{edited} {kept} {indexed} {cut}");
}
