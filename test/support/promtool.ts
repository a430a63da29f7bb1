import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';

/** What `promtool check metrics` says about a text in format 0.0.4: exit code 0 is a pass, 3 is lint. */
export async function checkMetrics(exposition: string): Promise<{ code: number | null; problems: string[] }> {
  const child = spawn('promtool', ['check', 'metrics'], { stdio: ['pipe', 'pipe', 'pipe'] });
  const exited = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  child.stdin.end(exposition);
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await exited, problems: `${out}${err}`.split('\n').filter(Boolean) };
}
