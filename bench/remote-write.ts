/**
 * As much of Prometheus' remote write (https://prometheus.io/docs/specs/remote_write_spec/) as it takes to give a
 * Prometheus an hour of history.
 *
 * @module
 */

export interface History {
  readonly labels: Readonly<Record<string, string>>;
  /** Seconds since the epoch, ascending, and value. */
  readonly samples: readonly (readonly [at: number, value: number])[];
}

const text = new TextEncoder();
const SERIES_PER_REQUEST = 2_000;

/** Sends all of it, some thousand series at a time. Throws if it is refused. */
export async function remoteWrite(prometheus: string, series: Iterable<History>): Promise<number> {
  let count = 0;
  let batch: Uint8Array[] = [];
  const send = async () => {
    if (batch.length === 0) return;
    const answer = await fetch(`${prometheus}/api/v1/write`, {
      method: 'POST',
      headers: {
        'content-encoding': 'snappy',
        'content-type': 'application/x-protobuf',
        'x-prometheus-remote-write-version': '0.1.0',
      },
      body: new Blob([snappy(joined(batch))]),
    });
    if (!answer.ok) throw new Error(`remote write: ${answer.status} ${await answer.text()}`);
    batch = [];
  };
  for (const one of series) {
    batch.push(field(1, timeSeries(one)));
    count++;
    if (batch.length >= SERIES_PER_REQUEST) await send();
  }
  await send();
  return count;
}

function timeSeries({ labels, samples }: History): Uint8Array {
  const sorted = Object.entries(labels)
    .filter(([, value]) => value !== '')
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return joined([
    ...sorted.map(([name, value]) =>
      field(1, joined([field(1, text.encode(name)), field(2, text.encode(value))])),
    ),
    ...samples.map(([at, value]) => field(2, sample(at, value))),
  ]);
}

function sample(at: number, value: number): Uint8Array {
  const bytes = new Uint8Array(10);
  // Field 1, a double; field 2, a varint of milliseconds.
  bytes[0] = (1 << 3) | 1;
  new DataView(bytes.buffer).setFloat64(1, value, true);
  bytes[9] = 2 << 3;
  return joined([bytes, varint(Math.round(at * 1000))]);
}

/** A field of bytes. */
function field(number: number, bytes: Uint8Array): Uint8Array {
  return joined([Uint8Array.of((number << 3) | 2), varint(bytes.length), bytes]);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Uint8Array.from(bytes);
}

/** Snappy's block format (https://github.com/google/snappy/blob/main/format_description.txt): one literal, not compressed. */
function snappy(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const length = new Uint8Array(5);
  length[0] = 63 << 2;
  new DataView(length.buffer).setUint32(1, bytes.length - 1, true);
  return joined([varint(bytes.length), length, bytes]);
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
