import { request } from 'node:http';

export interface Scraped {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/** One request, as it is: nothing is unzipped, followed or retried. */
export function scrape(
  url: string,
  { method = 'GET', headers = {} }: { method?: string; headers?: Record<string, string> } = {},
): Promise<Scraped> {
  return new Promise((resolve, reject) => {
    request(url, { method, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) }),
      );
    })
      .on('error', reject)
      .end();
  });
}

/** The samples of one metric in a text, by the value of a label. Understands what the format escapes. */
export function samples(text: string, metric: string, label: string): Map<string, number> {
  const found = new Map<string, number>();
  const line = new RegExp(`^${metric}\\{(?:.*,)?${label}="((?:[^"\\\\]|\\\\.)*)".*\\} (\\S+)$`);
  for (const one of text.split('\n')) {
    const match = line.exec(one);
    if (!match) continue;
    const unescaped = match[1]!.replaceAll(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c));
    found.set(unescaped, Number(match[2]));
  }
  return found;
}
