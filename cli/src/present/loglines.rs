//! A job's output in lines: with timestamps for people, as JSON for programs.

use super::{json, time};
use airlock_client::api;
use bytes::Bytes;
use serde::Serialize;

/// A line without an end is passed on in parts of this size.
const LONGEST_LINE: usize = 64 << 10;

/// Puts time and stream before each line. Holds back unfinished lines, so that the two streams do not mix within one.
#[derive(Default)]
pub struct LineWriter {
    partial: [Partial; 2],
}

#[derive(Default)]
struct Partial {
    text: Vec<u8>,
}

#[derive(Serialize)]
struct ChunkObject<'a> {
    job_id: &'a str,
    stream: &'static str,
    seq: u64,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    recovered: bool,
}

#[derive(Serialize)]
struct GapLine<'a> {
    job_id: &'a str,
    gap: GapObject<'a>,
}

#[derive(Serialize)]
struct GapObject<'a> {
    from: u64,
    to: u64,
    reason: &'a str,
}

/// A chunk as one line of JSON with its end of line.
pub fn chunk_line(job_id: &str, chunk: &api::Chunk) -> String {
    let (text, base64) = json::text_or_base64(&chunk.data);
    let stream = if chunk.stream() == api::Stream::Stderr { "stderr" } else { "stdout" };
    let time = time::from_proto(chunk.time.as_ref()).map(time::rfc3339);
    let object = ChunkObject {
        job_id,
        stream,
        seq: chunk.seq,
        offset: chunk.offset,
        time,
        text,
        base64,
        recovered: chunk.recovered,
    };
    json::line(&object) + "\n"
}

/// A gap as one line of JSON with its end of line.
pub fn gap_line(job_id: &str, gap: &api::Gap) -> String {
    json::line(&GapLine { job_id, gap: GapObject { from: gap.from, to: gap.to, reason: &gap.reason } }) + "\n"
}

impl LineWriter {
    /// The lines that a chunk completes.
    pub fn chunk(&mut self, chunk: &api::Chunk) -> Option<Bytes> {
        let (index, letter) = if chunk.stream() == api::Stream::Stderr { (1, b'E') } else { (0, b'O') };
        let partial = &mut self.partial[index];
        let stamp = time::from_proto(chunk.time.as_ref()).map_or_else(|| "-".to_owned(), time::microseconds);
        let mut out = Vec::new();
        for line in chunk.data.split_inclusive(|byte| *byte == b'\n') {
            if partial.text.is_empty() {
                partial.text.extend_from_slice(stamp.as_bytes());
                partial.text.extend_from_slice(&[b' ', letter, b' ']);
            }
            partial.text.extend_from_slice(line);
            if !line.ends_with(b"\n") {
                if partial.text.len() < LONGEST_LINE {
                    continue;
                }
                partial.text.push(b'\n');
            }
            out.append(&mut partial.text);
        }
        (!out.is_empty()).then(|| out.into())
    }

    /// What is left of lines that never ended, ended here.
    pub fn finish(&mut self) -> Vec<Bytes> {
        let rest =
            self.partial.iter_mut().map(|partial| std::mem::take(&mut partial.text)).filter(|text| !text.is_empty());
        rest.map(|mut text| {
            text.push(b'\n');
            text.into()
        })
        .collect()
    }
}

fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(stream: api::Stream, data: &'static [u8], seconds: i64) -> api::Chunk {
        api::Chunk {
            stream: stream.into(),
            offset: 40211,
            seq: 812,
            time: Some(prost_types::Timestamp { seconds, nanos: 204_881_003 }),
            data: Bytes::from_static(data),
            ..Default::default()
        }
    }

    #[test]
    fn each_line_carries_the_time_of_its_first_byte_and_its_stream() {
        let mut lines = LineWriter::default();
        assert_eq!(lines.chunk(&chunk(api::Stream::Stdout, b"par", 0)), None);
        assert_eq!(
            lines.chunk(&chunk(api::Stream::Stderr, b"bad\n", 1)).unwrap(),
            "1970-01-01T00:00:01.204881Z E bad\n"
        );
        assert_eq!(
            lines.chunk(&chunk(api::Stream::Stdout, b"tial\nnext\nopen", 2)).unwrap(),
            "1970-01-01T00:00:00.204881Z O partial\n1970-01-01T00:00:02.204881Z O next\n"
        );
        assert_eq!(lines.finish(), ["1970-01-01T00:00:02.204881Z O open\n"]);
    }

    #[test]
    fn a_line_that_never_ends_is_not_kept_for_ever() {
        let mut lines = LineWriter::default();
        let mut out = 0;
        for _ in 0..100 {
            out += lines.chunk(&chunk(api::Stream::Stdout, &[b'x'; 4096], 0)).map_or(0, |bytes| bytes.len());
        }
        assert!(out > 300_000);
    }

    #[test]
    fn a_chunk_is_one_line_of_json_with_text_or_base64() {
        assert_eq!(
            chunk_line("77d0", &chunk(api::Stream::Stdout, b"1 of 14 checks failed\n", 0)),
            "{\"job_id\":\"77d0\",\"stream\":\"stdout\",\"seq\":812,\"offset\":40211,\"time\":\"1970-01-01T00:00:00.204881003Z\",\"text\":\"1 of 14 checks failed\\n\"}\n"
        );
        assert!(chunk_line("77d0", &chunk(api::Stream::Stderr, b"\xff", 0)).contains(r#""stream":"stderr""#));
        assert!(chunk_line("77d0", &chunk(api::Stream::Stderr, b"\xff", 0)).contains(r#""base64":"/w==""#));
    }

    #[test]
    fn a_gap_is_one_line_of_json() {
        let gap = api::Gap { from: 0, to: 1_048_576, reason: "output limit".into() };
        assert_eq!(
            gap_line("77d0", &gap),
            "{\"job_id\":\"77d0\",\"gap\":{\"from\":0,\"to\":1048576,\"reason\":\"output limit\"}}\n"
        );
    }
}
