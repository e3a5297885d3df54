//! Compression, truncation and resumed transfers.
mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{Scratch, archive, digest, dir, file, gzip};
use pyd_layers::{Allowance, Error, Expected, LayerIngest, PIECE, Progress, unpack_blob};

fn layer() -> Vec<u8> {
    layer_with(2_000_000)
}

fn layer_with(noise: usize) -> Vec<u8> {
    // xorshift64: hardly anything that a compressor finds.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(noise)
    .collect();
    archive(&[
        dir("d"),
        file("d/noise", &noise),
        file("d/zeros", vec![0; 3_000_000]),
        file("last", "end"),
    ])
}

fn expected(blob: &[u8], media_type: &str) -> Expected {
    Expected {
        media_type: media_type.to_owned(),
        digest: digest(blob),
        size: blob.len() as u64,
        diff_id: Some(digest(&layer())),
        allowance: Arc::default(),
    }
}

fn ingest(scratch: &Scratch, expected: Expected) -> Result<LayerIngest, Error> {
    LayerIngest::open(
        &scratch.path("partial"),
        Some(&scratch.dir("dest")),
        expected,
        Arc::default(),
    )
}

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const PLAIN: &str = "application/vnd.docker.image.rootfs.diff.tar";

fn forms() -> Vec<(&'static str, Vec<u8>)> {
    forms_of(layer())
}

/// Large enough in every form that a thread of its own inflates it.
fn large_forms() -> Vec<(&'static str, Vec<u8>)> {
    let forms = forms_of(layer_with(5_000_000));
    for (_, blob) in &forms {
        assert!(blob.len() > 4 << 20, "{}", blob.len());
    }
    forms
}

fn forms_of(plain: Vec<u8>) -> Vec<(&'static str, Vec<u8>)> {
    let (one, two) = plain.split_at(1_234_567);
    let mut padded = gzip(&plain);
    padded.extend([0; 777]);
    let mut skippable = vec![0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    skippable.extend(zstd::encode_all(one, 3).unwrap());
    skippable.extend(zstd::encode_all(two, 1).unwrap());
    vec![
        (PLAIN, plain.clone()),
        (GZIP, gzip(&plain)),
        (GZIP, [gzip(one), gzip(&[]), gzip(two)].concat()),
        (GZIP, padded),
        (ZSTD, zstd::encode_all(&plain[..], 3).unwrap()),
        (ZSTD, skippable),
    ]
}

#[test]
fn every_form_gives_the_same_files() {
    for (index, (media_type, blob)) in forms().into_iter().enumerate() {
        for piece in [1 << 20, 999] {
            let scratch = Scratch::new();
            let ingest = ingest(&scratch, expected(&blob, media_type)).unwrap();
            for data in blob.chunks(piece) {
                ingest.write(data, None).unwrap();
            }
            let layer = ingest
                .finish(true)
                .unwrap_or_else(|error| panic!("form {index}: {error}"));
            assert_eq!(
                (layer.entries, layer.unpacked_size),
                (4, 5_000_003),
                "form {index}"
            );
            assert_eq!(fs::read(scratch.path("partial")).unwrap(), blob);
            assert_eq!(fs::read(scratch.path("dest/last")).unwrap(), b"end");
        }
    }
}

#[test]
fn a_large_layer_is_unpacked_and_checked_as_a_small_one() {
    let diff_id = digest(&layer_with(5_000_000));
    for (index, (media_type, blob)) in large_forms().into_iter().enumerate() {
        let expected = |blob: &[u8]| Expected {
            diff_id: Some(diff_id),
            ..expected(blob, media_type)
        };
        let scratch = Scratch::new();
        let open = ingest(&scratch, expected(&blob)).unwrap();
        feed(open, &blob).unwrap_or_else(|error| panic!("form {index}: {error}"));
        assert_eq!(fs::read(scratch.path("dest/last")).unwrap(), b"end");
        assert_eq!(
            fs::metadata(scratch.path("dest/d/noise")).unwrap().len(),
            5_000_000
        );
        let blob = &blob[..blob.len() - 2000];
        for blob in [blob, &blob[..blob.len() / 2]] {
            let scratch = Scratch::new();
            let result = ingest(&scratch, expected(blob)).and_then(|open| feed(open, blob));
            assert!(
                matches!(result, Err(Error::Corrupt(_))),
                "form {index} cut at {}: {result:?}",
                blob.len()
            );
        }
    }
}

#[test]
fn of_other_bytes_the_digest_is_told_and_not_what_they_are_instead() {
    let (media_type, blob) = forms().swap_remove(1);
    for other in [vec![b'<'; blob.len()], gzip(&vec![b'<'; 100_000])] {
        let scratch = Scratch::new();
        let mut expected = expected(&blob, media_type);
        expected.size = other.len() as u64;
        let error = ingest(&scratch, expected)
            .and_then(|open| feed(open, &other))
            .unwrap_err();
        assert!(matches!(error, Error::Mismatch(_)), "{error}");
    }
}

#[test]
fn a_media_type_that_lies_is_refused() {
    let (_, blob) = forms().swap_remove(1);
    for (media_type, what) in [
        (PLAIN, "declared as an uncompressed tar"),
        (ZSTD, "declared as zstd"),
    ] {
        let scratch = Scratch::new();
        let error = feed(
            ingest(&scratch, expected(&blob, media_type)).unwrap(),
            &blob,
        )
        .unwrap_err();
        assert!(
            matches!(&error, Error::Corrupt(message) if message.contains(what)),
            "{error}"
        );
    }
    let scratch = Scratch::new();
    let error = ingest(&scratch, expected(&blob, "application/x-tar"))
        .err()
        .unwrap();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    let error = scratch.unpack("xz", b"\xfd7zXZ\0 and so on").unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
}

fn feed(ingest: LayerIngest, blob: &[u8]) -> Result<(), Error> {
    for data in blob.chunks(65536) {
        ingest.write(data, None)?;
    }
    ingest.finish(true).map(drop)
}

#[test]
fn a_stream_that_ends_early_is_noticed_in_every_form() {
    for (index, (_, blob)) in forms().into_iter().enumerate() {
        // The last bytes of a plain tar are zero blocks, of a padded gzip zeros: nothing is lost with them.
        for cut in [blob.len() / 2, 600, 20, blob.len() - 2000] {
            let scratch = Scratch::new();
            let result = scratch.unpack("dest", &blob[..cut]);
            assert!(
                matches!(result, Err(Error::Corrupt(_))),
                "form {index} cut at {cut}: {result:?}"
            );
        }
    }
}

#[test]
fn a_flipped_bit_never_passes() {
    for (index, (media_type, blob)) in forms().into_iter().enumerate() {
        for at in [0, 9, 600, blob.len() / 3, blob.len() - 1] {
            let scratch = Scratch::new();
            let mut flipped = blob.clone();
            flipped[at] ^= 0x10;
            let result = ingest(&scratch, expected(&blob, media_type))
                .and_then(|ingest| feed(ingest, &flipped));
            assert!(
                matches!(
                    result,
                    Err(Error::Corrupt(_) | Error::Mismatch(_) | Error::Unsupported(_))
                ),
                "form {index} byte {at}: {result:?}"
            );
            assert!(
                !scratch.path("partial").exists(),
                "form {index} byte {at}: kept wrong bytes"
            );
        }
    }
}

#[test]
fn a_wrong_diff_id_is_refused() {
    let scratch = Scratch::new();
    let (media_type, blob) = forms().swap_remove(1);
    let mut expected = expected(&blob, media_type);
    expected.diff_id = Some(digest(b"something else"));
    let error = feed(ingest(&scratch, expected).unwrap(), &blob).unwrap_err();
    assert!(error.to_string().contains("uncompressed digest"), "{error}");
}

#[test]
fn more_bytes_than_promised_are_refused_at_once() {
    let scratch = Scratch::new();
    let (media_type, blob) = forms().swap_remove(1);
    let mut expected = expected(&blob, media_type);
    expected.size = 1000;
    let ingest = ingest(&scratch, expected).unwrap();
    ingest.write(&blob[..1000], None).unwrap();
    let error = ingest.write(&blob[1000..1001], None).unwrap_err();
    assert!(matches!(error, Error::Mismatch(_)), "{error}");
    assert!(!scratch.path("partial").exists());
}

#[test]
fn a_cut_transfer_goes_on_where_it_ended() {
    for (media_type, blob) in forms() {
        let scratch = Scratch::new();
        let half = blob.len() / 2;
        let error = feed(
            ingest(&scratch, expected(&blob, media_type)).unwrap(),
            &blob[..half],
        )
        .unwrap_err();
        assert!(matches!(error, Error::Cut(_)), "{error}");
        assert_eq!(
            fs::metadata(scratch.path("partial")).unwrap().len(),
            half as u64
        );
        clear(&scratch.path("dest"));
        let again = ingest(&scratch, expected(&blob, media_type)).unwrap();
        assert_eq!(again.offset(), half as u64);
        feed(again, &blob[half..]).unwrap();
        assert_eq!(fs::read(scratch.path("dest/last")).unwrap(), b"end");
    }
}

#[test]
fn pieces_may_come_in_any_order() {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    let content: Vec<u8> = (0..2 * PIECE / 8 + 1000)
        .flat_map(u64::to_le_bytes)
        .collect();
    let blob = archive(&[file("big", &content)]);
    let mut expected = expected(&blob, PLAIN);
    expected.diff_id = Some(digest(&blob));
    let scratch = Scratch::new();
    let ingest = ingest(&scratch, expected).unwrap();
    let spans: Vec<_> = std::iter::from_fn(|| ingest.claim(false).unwrap()).collect();
    assert_eq!(spans.len(), 3);
    for &span in spans.iter().rev() {
        let data = &blob[span.start as usize..span.end as usize];
        let (mut here, there) = UnixStream::pair().unwrap();
        let there = OwnedFd::from(there);
        std::thread::scope(|scope| {
            scope.spawn(move || std::io::Write::write_all(&mut here, data).unwrap());
            let received = ingest
                .receive(&there, span, std::time::Duration::from_secs(60))
                .unwrap();
            assert_eq!(received, (span.end - span.start, pyd_layers::End::Whole));
        });
    }
    assert!(ingest.starved() > std::time::Duration::ZERO);
    ingest.finish(false).unwrap();
    assert_eq!(fs::read(scratch.path("partial")).unwrap(), blob);
    assert_eq!(fs::read(scratch.path("dest/big")).unwrap(), content);
}

#[test]
fn a_connection_that_ends_or_stalls_says_so() {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    let scratch = Scratch::new();
    let (media_type, blob) = forms().swap_remove(1);
    let ingest = ingest(&scratch, expected(&blob, media_type)).unwrap();
    let patience = std::time::Duration::from_millis(150);
    let (mut here, there) = UnixStream::pair().unwrap();
    let there = std::os::fd::OwnedFd::from(there);
    here.write_all(&blob[..1000]).unwrap();
    let span = ingest.claim(true).unwrap().unwrap();
    assert_eq!(
        ingest.receive(&there, span, patience).unwrap(),
        (1000, pyd_layers::End::Stalled)
    );
    here.write_all(&blob[1000..1500]).unwrap();
    drop(here);
    let rest = pyd_layers::Span {
        start: 1000,
        ..span
    };
    assert_eq!(
        ingest.receive(&there, rest, patience).unwrap(),
        (500, pyd_layers::End::Eof)
    );
    ingest.release(span);
    assert_eq!(ingest.claim(true).unwrap().unwrap().start, 1500);
}

#[test]
fn a_bomb_ends_at_the_allowance_of_all_layers() {
    let (media_type, blob) = forms().swap_remove(1);
    let allowance = Arc::new(Allowance::new(layer().len() as u64 + 1_000_000));
    for is_allowed in [true, false] {
        let scratch = Scratch::new();
        let mut expected = expected(&blob, media_type);
        expected.allowance = Arc::clone(&allowance);
        let result = feed(ingest(&scratch, expected).unwrap(), &blob);
        match result {
            Ok(()) => assert!(is_allowed),
            Err(Error::TooLarge(message)) => assert!(!is_allowed && message.contains("more than")),
            Err(error) => panic!("{error}"),
        }
        // What was fetched is right: with a larger allowance it need not be fetched again.
        assert!(scratch.path("partial").exists());
    }
}

#[test]
fn a_partial_of_something_else_is_thrown_away() {
    let (media_type, blob) = forms().swap_remove(1);
    for rubbish in [b"rubbish".to_vec(), vec![7; blob.len() + 1]] {
        let scratch = Scratch::new();
        scratch.file("partial", &rubbish);
        // Noticed at the replay, or by the first write.
        let result = ingest(&scratch, expected(&blob, media_type))
            .and_then(|ingest| feed_from(ingest, &blob));
        if result.is_err() {
            assert!(!scratch.path("partial").exists());
            clear(&scratch.path("dest"));
            feed(
                ingest(&scratch, expected(&blob, media_type)).unwrap(),
                &blob,
            )
            .unwrap();
        }
        assert_eq!(fs::read(scratch.path("partial")).unwrap(), blob);
    }
}

fn feed_from(ingest: LayerIngest, blob: &[u8]) -> Result<(), Error> {
    let offset = usize::try_from(ingest.offset()).unwrap();
    feed(ingest, &blob[offset..])
}

fn clear(directory: &Path) {
    pyd_layers::remove_tree(directory, &Progress::default()).unwrap();
    fs::create_dir(directory).unwrap();
}

#[test]
fn cancelling_stops_and_keeps_the_partial() {
    let scratch = Scratch::new();
    let (media_type, blob) = forms().swap_remove(1);
    let progress = Arc::new(Progress::default());
    let dest = scratch.dir("dest");
    let expected = expected(&blob, media_type);
    let ingest = LayerIngest::open(
        &scratch.path("partial"),
        Some(&dest),
        expected,
        Arc::clone(&progress),
    )
    .unwrap();
    ingest.write(&blob[..100_000], None).unwrap();
    assert_eq!(
        (progress.done(), progress.total()),
        (100_000, blob.len() as u64)
    );
    progress.cancel();
    assert!(matches!(
        ingest.write(&blob[100_000..], None),
        Err(Error::Cancelled)
    ));
    assert_eq!(
        fs::metadata(scratch.path("partial")).unwrap().len(),
        100_000
    );
    let blob = scratch.file("blob", &blob);
    let result = unpack_blob(
        &blob,
        &scratch.dir("dest2"),
        "",
        None,
        &progress,
        Arc::default(),
    );
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
}

#[test]
fn zstd_windows_that_need_a_lot_of_memory_are_refused() {
    use std::io::Write;
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.write_all(&layer()).unwrap();
    let scratch = Scratch::new();
    let error = scratch
        .unpack("dest", &encoder.finish().unwrap())
        .unwrap_err();
    assert!(error.to_string().contains("zstd stream"), "{error}");
}
