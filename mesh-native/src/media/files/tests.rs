//! What is written is read again, and what is no such file is refused.

use std::io::Cursor;

use super::*;
use crate::link::codecs;

/// A frame of VP8: a keyframe of 64 by 48, or another.
fn picture(is_keyframe: bool, bytes: usize) -> Bytes {
    let mut frame = vec![7; bytes];
    frame[0] = if is_keyframe { 0x10 } else { 0x11 };
    frame[3..6].copy_from_slice(&[0x9d, 0x01, 0x2a]);
    frame[6..10].copy_from_slice(&[64, 0, 48, 0]);
    frame.into()
}

/// The packets of frames at 30 a second, numbered from 1.
fn packets(frames: &[Bytes]) -> Vec<rtp::Packet> {
    let mut payloader = codecs::payloader(TrackKind::Video);
    let mut packets = Vec::new();
    for (number, frame) in frames.iter().enumerate() {
        let parts = payloader.payload(1_000, frame).expect("fits");
        let last = parts.len() - 1;
        for (part, payload) in parts.into_iter().enumerate() {
            packets.push(rtp::Packet {
                header: rtp::Header {
                    marker: part == last,
                    sequence_number: packets.len() as u16 + 1,
                    timestamp: (number as u32).wrapping_mul(3_000).wrapping_sub(4_500),
                    ..rtp::Header::default()
                },
                payload,
            });
        }
    }
    packets
}

fn recorded(packets: Vec<rtp::Packet>) -> (Vec<u8>, u64) {
    let mut file = Cursor::new(Vec::new());
    let mut writer = IvfWriter::new(&mut file);
    let mut order = Reorder::default();
    for packet in packets {
        order.push(packet);
        while let Some((packet, is_after_loss)) = order.pop() {
            writer.write(&packet, is_after_loss).expect("written");
        }
    }
    writer.finish().expect("written");
    let frames = writer.frames();
    (file.into_inner(), frames)
}

#[test]
fn frames_of_a_video_are_read_as_they_were_recorded() {
    let frames = [
        (false, 50),
        (true, 2_500),
        (false, 20),
        (false, 1_200),
        (true, 30),
    ];
    let frames = frames.map(|(is_keyframe, bytes)| picture(is_keyframe, bytes));
    let mut sent = packets(&frames);
    sent.swap(2, 3); // One overtakes another.
    let (file, written) = recorded(sent);
    assert_eq!(written, 4, "from the first keyframe on");
    assert_eq!(&file[24..28], [4, 0, 0, 0]);
    assert_eq!(&file[12..16], [64, 0, 48, 0], "the size of its pictures");
    let mut reader = IvfReader::new(Cursor::new(file)).expect("it is one");
    let mut read = Vec::new();
    while let Some(frame) = reader.next().expect("it is whole") {
        read.push(frame);
    }
    let data: Vec<_> = read.iter().map(|frame| frame.data.clone()).collect();
    assert_eq!(data, frames[1..]);
    let at: Vec<_> = read.iter().map(|frame| frame.at.as_micros()).collect();
    assert_eq!(at, [0, 33_333, 66_666, 100_000]);
    let again = reader.rewind().expect("it can").expect("there was one");
    assert_eq!(again, read[3].at);
    assert_eq!(reader.next().expect("whole").as_ref(), read.last());
}

#[test]
fn after_a_loss_a_video_goes_on_with_a_keyframe() {
    let mut frames = vec![picture(true, 100), picture(false, 100), picture(false, 100)];
    frames.push(picture(true, 100));
    frames.extend((0..70).map(|_| picture(false, 100)));
    let mut sent = packets(&frames);
    sent.remove(1);
    let (_, written) = recorded(sent);
    assert_eq!(
        written,
        1 + 71,
        "the one that was lost, and the one after it, are left out"
    );
}

#[test]
fn packets_of_sound_are_read_as_they_were_recorded() {
    // 20 ms of CELT, one frame a packet.
    let sound = |n: u8| Bytes::from(vec![0b1111_1000, n, n]);
    let mut file = Vec::new();
    let mut writer = OpusWriter::new(&mut file).expect("written");
    for n in 0..100u8 {
        let header = rtp::Header {
            timestamp: u32::MAX.wrapping_add(u32::from(n) * 960),
            ..rtp::Header::default()
        };
        let payload = sound(n);
        writer
            .write(&rtp::Packet { header, payload })
            .expect("written");
    }
    writer.finish().expect("written");
    drop(writer);
    let mut reader = OpusReader::new(Cursor::new(file)).expect("it is one");
    for n in 0..100u8 {
        let frame = reader.next().expect("whole").expect("one more");
        let (at, lasts) = (
            Duration::from_millis(20) * n.into(),
            Duration::from_millis(20),
        );
        assert_eq!(
            frame,
            Frame {
                data: sound(n),
                at,
                lasts
            }
        );
    }
    assert_eq!(reader.next().expect("whole"), None);
}

#[test]
fn what_is_no_such_file_is_refused_with_the_reason() {
    let video = |bytes: &[u8]| match IvfReader::new(Cursor::new(bytes.to_vec())) {
        Err(Fault::Format(reason)) => reason,
        _ => panic!("refused"),
    };
    assert!(video(b"").contains("shorter"));
    assert!(video(&[0; 40]).contains("DKIF"));
    let (file, _) = recorded(packets(&[picture(true, 100)]));
    let mut other = file.clone();
    other[8..12].copy_from_slice(b"AV01");
    assert!(video(&other).contains("AV01"));
    let mut damaged = file.clone();
    damaged[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(
        video(&damaged).contains("4294967295 bytes"),
        "none is allocated"
    );
    let mut endless = file;
    endless[16..24].fill(0);
    assert!(video(&endless).contains("time base"));
    for bytes in [&b""[..], b"OggS", &[b'x'; 4_000]] {
        assert!(OpusReader::new(Cursor::new(bytes.to_vec())).is_err());
    }
}
