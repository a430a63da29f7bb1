import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { structs } from '../../src/bpf/generated/counts.js';
import { decodeRpcMethod } from '../../src/receivers/ebpf-methods.js';
import { decodeHuffman } from '../../src/receivers/hpack.js';

/** Coded by an independent implementation of HPACK. */
function huffman(texts: readonly string[]): Buffer[] {
  const script = `
import json, sys
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
encoder = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
print(json.dumps([encoder.encode(text.encode('latin1')).hex() for text in json.load(sys.stdin)]))`;
  const output = execFileSync('/usr/bin/python3', ['-c', script], { input: JSON.stringify(texts) });
  return (JSON.parse(output.toString()) as string[]).map((text) => Buffer.from(text, 'hex'));
}

function key(path: Uint8Array, coded: boolean): Uint8Array {
  const bytes = Buffer.alloc(structs.rpc_method_key.size);
  const { length, huffman, byte } = structs.rpc_method_key.fields;
  bytes[length.offset] = path.length;
  bytes[huffman.offset] = coded ? 1 : 0;
  bytes.set(path, byte.offset);
  return bytes;
}

describe('a Huffman code', () => {
  const printable = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));

  test('is decoded to what was coded', () => {
    const texts = [
      '',
      ...printable,
      printable.join(''),
      [...printable].reverse().join(''),
      '/a.B/Say',
      '0000000',
    ];
    expect(huffman(texts).map(decodeHuffman)).toEqual(texts);
  });

  test('of what is no printable ASCII ends there', () => {
    const [code] = huffman(['/a\u00e9b']);
    expect(decodeHuffman(code!)).toBe('/a\ufffd');
  });
});

describe('the path of a call', () => {
  test.each([
    ['/a.B/Say', { service: 'a.B', method: 'Say' }],
    ['/Echo/Say', { service: 'Echo', method: 'Say' }],
    ['/with/prefix.Echo/Say', { service: 'with/prefix.Echo', method: 'Say' }],
    ['/', { service: '_OTHER', method: '_OTHER' }],
    ['/a.B', { service: '_OTHER', method: '_OTHER' }],
    ['a.B/Say', { service: '_OTHER', method: '_OTHER' }],
    ['/a.B/', { service: '_OTHER', method: '_OTHER' }],
    ['/a B/Say', { service: '_OTHER', method: '_OTHER' }],
    ['/a.\nB/Say', { service: '_OTHER', method: '_OTHER' }],
  ])('%j', (path, expected) => {
    const [code] = huffman([path]);
    expect(decodeRpcMethod(key(Buffer.from(path), false))).toEqual(expected);
    expect(decodeRpcMethod(key(code!, true))).toEqual(expected);
  });
});
