import { closeSync, constants, openSync } from 'node:fs';
import { check } from './failure.js';
import { libbpf } from './libbpf.js';

/** What the kernel knows of a link to a cgroup. */
export interface LinkInfo {
  readonly id: number;
  /** Id of the program that runs now; unique until the next boot. */
  readonly program: number;
  /** 0n where the cgroup was removed. */
  readonly cgroup: bigint;
  /** `enum bpf_attach_type` of linux/bpf.h. */
  readonly attachType: number;
}

/** A program's attachment to a cgroup (Linux 5.7): it ends with the last file descriptor or pin. */
export class BpfLink implements Disposable {
  readonly fd: number;
  #open = true;

  /** Takes over `fd`. */
  constructor(fd: number) {
    this.fd = fd;
  }

  /**
   * Attaches a program to a cgroup-v2 directory, after those that are attached already.
   *
   * @throws MeshtapError `BPF_FAILED`
   */
  static attach(program: { fd: number; name: string; attachType: number }, cgroup: string): BpfLink {
    const directory = openSync(cgroup, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      const fd = libbpf().bpf_link_create(program.fd, directory, program.attachType, null);
      return new BpfLink(check(`attach ${program.name} to ${cgroup}`, fd));
    } finally {
      closeSync(directory);
    }
  }

  /** Opens a pinned link. */
  static open(path: string): BpfLink {
    return new BpfLink(check(`open the pinned link ${path}`, libbpf().bpf_obj_get(path)));
  }

  pin(path: string): void {
    check(`pin a link as ${path}`, libbpf().bpf_obj_pin(this.fd, path));
  }

  /** Puts another program in the place of the one that runs: each packet meets exactly one of the two. */
  update(program: { fd: number; name: string }): void {
    check(`replace ${program.name}`, libbpf().bpf_link_update(this.fd, program.fd, null));
  }

  info(): LinkInfo {
    // struct bpf_link_info of linux/bpf.h
    const info = new DataView(new ArrayBuffer(64));
    const size = new Uint32Array([info.byteLength]);
    const result = libbpf().bpf_obj_get_info_by_fd(this.fd, new Uint8Array(info.buffer), size);
    check('read what a link is', result);
    return {
      id: info.getUint32(4, true),
      program: info.getUint32(8, true),
      cgroup: info.getBigUint64(16, true),
      attachType: info.getUint32(24, true),
    };
  }

  /** Detaches the program, unless the link is pinned. */
  close(): void {
    if (this.#open) closeSync(this.fd);
    this.#open = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
