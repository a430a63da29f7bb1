/**
 * Container images without a registry: programs of this machine with the libraries they are linked to, and files.
 *
 * @module
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** A directory that becomes a layer of images, added to by calls; the archive is made of it at the end. */
export class Layer implements Disposable {
  readonly root = mkdtempSync(join(tmpdir(), 'meshtap-image-'));

  /** Copies programs and all they are linked to; `bin` and the like lead to `usr/bin`, as on this machine. */
  addPrograms(...programs: readonly string[]): this {
    for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
      mkdirSync(join(this.root, 'usr', name), { recursive: true });
      symlinkSync(`usr/${name}`, join(this.root, name));
    }
    mkdirSync(join(this.root, 'tmp'), { mode: 0o1777 });
    this.addFile('/etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n');
    this.addFile('/etc/group', 'root:x:0:\nnogroup:x:65534:\n');
    for (const program of programs) {
      this.copy(program, program);
      for (const library of librariesOf(program)) this.copy(library, library);
    }
    return this;
  }

  /** Copies a file or directory of this machine; symbolic links become what they point to. */
  copy(from: string, to: string): this {
    const target = this.#make(to);
    cpSync(realpathSync(from), target, { recursive: true });
    return this;
  }

  addFile(path: string, content: string): this {
    writeFileSync(this.#make(path), content);
    return this;
  }

  #make(path: string): string {
    const target = join(this.root, path.replace(/^\/(?=(bin|sbin|lib|lib64)\/)/, '/usr/'));
    mkdirSync(dirname(target), { recursive: true });
    return target;
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true });
  }
}

export interface Image {
  /** Names it is known under, each with a tag. */
  readonly names: readonly string[];
  /** From the lowest to the highest. */
  readonly layers: readonly Layer[];
  readonly entrypoint: readonly string[];
}

/**
 * Writes an archive as of `docker save`, which containerd reads
 * (https://github.com/moby/docker-image-spec/blob/main/spec.md, "Combined Image JSON + Filesystem Changeset Format").
 */
export function saveImages(archive: string, images: readonly Image[]): void {
  const directory = mkdtempSync(join(tmpdir(), 'meshtap-images-'));
  try {
    const digests = new Map<Layer, string>();
    for (const layer of new Set(images.flatMap(({ layers }) => layers))) {
      const tar = join(directory, `${digests.size}.tar`);
      execFileSync('tar', ['-C', layer.root, '--owner=0', '--group=0', '-cf', tar, '.']);
      const digest = createHash('sha256').update(readFileSync(tar)).digest('hex');
      execFileSync('mv', [tar, join(directory, `${digest}.tar`)]);
      digests.set(layer, digest);
    }
    const manifest = images.map(({ names, layers, entrypoint }, index) => {
      const ids = layers.map((layer) => digests.get(layer)!);
      const config = {
        architecture: 'amd64',
        os: 'linux',
        config: { Env: ['PATH=/usr/sbin:/usr/bin'], Entrypoint: entrypoint },
        rootfs: { type: 'layers', diff_ids: ids.map((id) => `sha256:${id}`) },
      };
      writeFileSync(join(directory, `${index}.json`), JSON.stringify(config));
      return { Config: `${index}.json`, RepoTags: names, Layers: ids.map((id) => `${id}.tar`) };
    });
    writeFileSync(join(directory, 'manifest.json'), JSON.stringify(manifest));
    execFileSync('tar', ['-C', directory, '-cf', archive, '.']);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The paths in what ldd(1) prints: `libc.so.6 => /lib/… (0x…)`, and the loader's own. */
function librariesOf(program: string): string[] {
  const text = execFileSync('ldd', [program], { encoding: 'utf8' });
  return [...text.matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path!);
}
