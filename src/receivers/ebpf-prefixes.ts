import { enums } from '../bpf/generated/counts.js';
import type { BpfMap } from '../bpf/map.js';
import { prefixKey } from './ebpf-decode.js';
import type { Epoch } from './ebpf-entries.js';
import type { Prefix } from './receiver.js';

const { PREFIX_ADDRESS, PREFIX_WORLD } = enums.prefix_verdict;
const VERDICTS = { address: PREFIX_ADDRESS, world: PREFIX_WORLD } as const;

/** The trie in which the kernel looks up who an address is folded to. */
export class PrefixTable {
  readonly #trie: BpfMap;
  readonly #epoch: Epoch;

  constructor(trie: BpfMap, epoch: Epoch) {
    this.#trie = trie;
    this.#epoch = epoch;
  }

  /**
   * Makes the trie hold these prefixes and no others. What stays the same is not touched, and sockets look again
   * only if something changed. Of equal prefixes the last one counts.
   *
   * @throws MeshtapError `BPF_FAILED` if there are more than the trie takes.
   */
  set(prefixes: readonly Prefix[]): void {
    const wanted = new Map(
      prefixes.map(({ cidr, id }) => {
        const key = prefixKey(cidr);
        return [textOf(key), { key, id: typeof id === 'number' ? id : VERDICTS[id] }];
      }),
    );
    const present = new Map(this.#trie.keys().map((key) => [textOf(key), key]));
    const obsolete = [...present].filter(([text]) => !wanted.has(text)).map(([, key]) => key);
    const value = new Uint32Array(1);
    const changed = [...wanted].filter(([text, { key, id }]) => {
      // A look-up takes a shorter prefix for an answer too, so only what is there can be compared.
      return !present.has(text) || !this.#trie.lookup(key, value) || value[0] !== id;
    });
    for (const [, { key, id }] of changed) this.#trie.update(key, new Uint32Array([id]));
    for (const key of obsolete) this.#trie.delete(key);
    if (changed.length > 0 || obsolete.length > 0) this.#epoch.advance();
  }
}

const textOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');
