import { readdir, readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { MeshtapError } from '../../errors.js';

/** A file of the page. */
export interface Asset {
  readonly type: string;
  readonly body: Buffer;
  readonly zipped: Buffer;
}

/** Built by `npm run build:page`; the same place from `src/` and from `dist/`. */
const FOLDER = fileURLToPath(new URL('../../../dist/exporters/page/browser', import.meta.url));

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** Everything that a browser may load, by path. Rejects with EXPORT_FAILED if the page was not built. */
export async function loadAssets(): Promise<ReadonlyMap<string, Asset>> {
  try {
    const names = (await readdir(FOLDER)).filter((name) => extname(name) in TYPES);
    const assets = names.map(async (name): Promise<[string, Asset]> => {
      const body = await readFile(`${FOLDER}/${name}`);
      const path = name === 'index.html' ? '/' : `/${name}`;
      return [path, { type: TYPES[extname(name)]!, body, zipped: gzipSync(body) }];
    });
    return new Map(await Promise.all(assets));
  } catch (cause) {
    throw new MeshtapError('EXPORT_FAILED', `the page is not in ${FOLDER}`, {
      cause,
      hint: 'npm run build:page makes it',
    });
  }
}
