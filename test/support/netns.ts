/**
 * Network namespaces of the test's own, joined by cables.
 *
 * @module
 */
import { execFileSync } from 'node:child_process';

/** The command that runs that command in a namespace. */
export const inNamespace = (netns: string | undefined, command: readonly string[]): readonly string[] =>
  netns === undefined ? command : ['ip', 'netns', 'exec', netns, ...command];

export const ADDRESSES = {
  v4: { client: '10.77.0.1', server: '10.77.0.2' },
  v6: { client: 'fd77::1', server: 'fd77::2' },
} as const;

let made = 0;

/** A client's and a server's namespace with a veth pair between them, and an address of either family at each end. */
export class Namespaces implements Disposable {
  readonly client: string;
  readonly server: string;

  constructor() {
    const id = `meshtap-${process.pid}-${made++}`;
    this.client = `${id}-client`;
    this.server = `${id}-server`;
    for (const netns of [this.client, this.server]) {
      run('ip', 'netns', 'add', netns);
      run('ip', '-n', netns, 'link', 'set', 'lo', 'up');
    }
    const pair = `link add cable netns ${this.client} type veth peer name cable netns ${this.server}`;
    run('ip', ...pair.split(' '));
    for (const end of ['client', 'server'] as const) {
      const netns = this[end];
      run('ip', '-n', netns, 'address', 'add', `${ADDRESSES.v4[end]}/24`, 'dev', 'cable');
      run('ip', '-n', netns, 'address', 'add', `${ADDRESSES.v6[end]}/64`, 'dev', 'cable', 'nodad');
      run('ip', '-n', netns, 'link', 'set', 'cable', 'up');
    }
  }

  /** Replaces the firewall of one end: rules for what comes in there, in nft's language; none lets all pass. */
  setInputRules(end: 'client' | 'server', ...rules: string[]): void {
    const netns = this[end];
    run('ip', 'netns', 'exec', netns, 'nft', 'flush', 'ruleset');
    if (rules.length === 0) return;
    const chain = ['type filter hook input priority 0;', ...rules].join('\n');
    run('ip', 'netns', 'exec', netns, 'nft', `table inet test {\nchain input {\n${chain}\n}\n}`);
  }

  /** The size of the buffers, sent and received, of TCP sockets that are made from now on, in both namespaces. */
  setBuffers(bytes: number): void {
    for (const netns of [this.client, this.server])
      for (const name of ['rmem', 'wmem'])
        run('ip', 'netns', 'exec', netns, 'sysctl', '-qw', `net.ipv4.tcp_${name}=4096 ${bytes} ${bytes}`);
  }

  /** How many segments the kernel of one end has sent again since the namespace was made, by its own count. */
  retransmits(end: 'client' | 'server'): number {
    const lines = run('ip', 'netns', 'exec', this[end], 'cat', '/proc/net/snmp').split('\n');
    const [names, values] = lines.filter((line) => line.startsWith('Tcp:')).map((line) => line.split(' '));
    return Number(values![names!.indexOf('RetransSegs')]);
  }

  [Symbol.dispose](): void {
    for (const netns of [this.client, this.server]) run('ip', 'netns', 'delete', netns);
  }
}

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8' });
}
