//! Thousands of damaged archives, the same ones at every run: none panics, hangs, or touches what is outside.
mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{
    Scratch, archive, checksum, differences, dir, file, gzip, link, member, pax, picture,
};
use pyd_layers::{Error, Progress, remove_tree, settle_layer, unpack_blob};

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut sparse = file("sparse", [7; 512]);
    sparse.kind = b'S';
    let mut old_sparse = sparse.bytes();
    old_sparse[257..265].copy_from_slice(b"ustar  \0");
    old_sparse[386..410].copy_from_slice(b"00000010000\x0000000001000\0");
    old_sparse[483..495].copy_from_slice(b"00000020000\0");
    old_sparse[345..386].fill(0);
    checksum(&mut old_sparse[..512]);
    old_sparse.extend([0; 1024]);
    vec![
        archive(&[
            dir("a"),
            file("a/f", "content"),
            link("a/l", b'2', "../../out"),
            link("h", b'1', "a/f"),
            link("lower", b'1', "b/x"),
            member("fifo", b'6'),
            file("a/.wh.x", ""),
            file("a/.wh..wh..opq", ""),
        ]),
        archive(&[
            pax(&[
                ("path", b"long/path/name"),
                ("mtime", b"1.5"),
                ("SCHILY.xattr.user.a", b"v"),
            ]),
            file("x", "data"),
            pax(&[("linkpath", b"long/path/name")]),
            link("y", b'1', "x"),
            pax(&[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.realsize", b"9000"),
                ("GNU.sparse.name", b"s"),
            ]),
            file(
                "sparse",
                [&b"1\n4096\n4\n"[..], &[0; 503], b"data"].concat(),
            ),
        ]),
        old_sparse,
    ]
}

/// Change some bytes, mostly in headers, and usually make the checksums right again: the interesting errors are
/// behind them.
fn mutate(seed: &[u8], random: &mut Random) -> Vec<u8> {
    const PIECES: [&[u8]; 14] = [
        b"..",
        b"../",
        b"/",
        b"\0",
        b"\xff",
        b"\x80",
        b"7777777",
        b".wh.",
        b"../../out/canary",
        b"-1",
        b" ",
        b"\n",
        b"=",
        b"a/l/canary",
    ];
    const FIELDS: [usize; 14] = [
        0, 100, 108, 116, 124, 136, 156, 157, 257, 329, 345, 386, 482, 483,
    ];
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let block = at / 512 * 512;
        let mut put = |at: usize, piece: &[u8]| {
            let end = bytes.len().min(at + piece.len());
            if at < end {
                bytes[at..end].copy_from_slice(&piece[..end - at]);
            }
        };
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => {
                // A field of a header.
                let field = FIELDS[random.below(FIELDS.len())];
                put(block + field, PIECES[random.below(PIECES.len())]);
            }
            2 => put(at, PIECES[random.below(PIECES.len())]),
            3 => put(block + 156, &b"01234567xgLKSVZ\0"[random.below(16)..][..1]),
            4 => {
                let copy = bytes[block..bytes.len().min(block + 512)].to_vec();
                let target = random.below(bytes.len()) / 512 * 512;
                bytes.splice(target..target, copy);
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
    if random.below(8) > 0 {
        for block in bytes.chunks_exact_mut(512) {
            if &block[257..262] == b"ustar" {
                checksum(block);
            }
        }
    }
    bytes
}

#[test]
fn damaged_archives() {
    let scratch = Scratch::new();
    let out = scratch.dir("out");
    fs::write(out.join("canary"), "alive").unwrap();
    let below = scratch.dir("below");
    fs::create_dir(below.join("b")).unwrap();
    fs::write(below.join("b/x"), "lower").unwrap();
    symlink(&out, below.join("out")).unwrap();
    let before = (picture(&out), picture(&below));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let seeds = seeds();
    let (mut good, mut bad) = (0, 0);
    for round in 0..3000 {
        let mut layer = mutate(&seeds[round % seeds.len()], &mut random);
        if round % 10 == 0 {
            layer = gzip(&layer);
            if round % 20 == 0 {
                let at = random.below(layer.len());
                layer[at] ^= 1 << random.below(8);
            }
        }
        let blob = scratch.file("blob", &layer);
        let dest = scratch.dir("dest");
        let begun = Instant::now();
        let result = unpack_blob(
            &blob,
            &dest,
            "",
            None,
            &Arc::<Progress>::default(),
            Arc::default(),
        )
        .and_then(|layer| settle_layer(&layer.unsettled, &dest, std::slice::from_ref(&below)));
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "round {round} took {:?}",
            begun.elapsed()
        );
        match result {
            Ok(()) => good += 1,
            Err(Error::Corrupt(_) | Error::Unsupported(_)) => bad += 1,
            // A sparse file may be larger than the file system allows: nothing that a check could know.
            Err(Error::Kernel {
                errno: nix::errno::Errno::EFBIG,
                ..
            }) => bad += 1,
            Err(other) => panic!("round {round}: {other}"),
        }
        remove_tree(&dest, &Progress::default()).unwrap();
    }
    let after = (picture(&out), picture(&below));
    assert_eq!(differences(&before.0, &after.0), [""; 0]);
    assert_eq!(differences(&before.1, &after.1), [""; 0]);
    assert!(!scratch.path("canary").exists());
    assert!(
        good > 300 && bad > 300,
        "{good} good and {bad} bad: the mutations are too weak or too strong"
    );
}
