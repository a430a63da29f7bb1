import { execFileSync } from 'node:child_process';

let made = 0;

/**
 * A network namespace with a cable to this one, so that one can look in from here while firewall rules and the
 * kernel's counts concern only what is inside.
 */
export class Island implements Disposable {
  readonly #name = `meshtap-${process.pid}-i${made++}`;
  /** Of the inside. */
  readonly address: string;
  /** The command that runs another one inside. Unlike `ip netns exec` it leaves /sys, and the cgroups, as they are. */
  readonly entering: readonly string[];

  constructor() {
    // Every process that tests has a network of four addresses of its own.
    const net = `10.${96 + ((process.pid >> 8) % 32)}.${process.pid & 255}`;
    const [outside, inside] = [`${net}.${4 * made + 1}`, `${net}.${4 * made + 2}`];
    this.address = inside;
    this.entering = ['nsenter', `--net=/run/netns/${this.#name}`, '--'];
    const cable = `mt${process.pid}i${made}`;
    run('ip', 'netns', 'add', this.#name);
    try {
      run('ip', 'link', 'add', cable, 'type', 'veth', 'peer', 'name', 'out', 'netns', this.#name);
      run('ip', 'address', 'add', `${outside}/30`, 'dev', cable);
      run('ip', 'link', 'set', cable, 'up');
      run('ip', '-n', this.#name, 'address', 'add', `${inside}/30`, 'dev', 'out');
      for (const link of ['lo', 'out']) run('ip', '-n', this.#name, 'link', 'set', link, 'up');
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** Loses one in so many of the segments to and from these ports. */
  lose(oneIn: number, ports: readonly number[]): void {
    const drop = `ip protocol tcp tcp dport { ${ports} } numgen random mod ${oneIn} == 0 drop
      ip protocol tcp tcp sport { ${ports} } numgen random mod ${oneIn} == 0 drop`;
    const [command, ...rest] = [...this.entering, 'nft', '-f', '-'];
    execFileSync(command!, rest, {
      input: `table inet test { chain input {
        type filter hook input priority 0
        ${drop}
      }
      }`,
    });
  }

  /** How many segments the kernel has sent again inside, by its own count. */
  retransmits(): number {
    const [command, ...rest] = [...this.entering, 'cat', '/proc/net/snmp'];
    const lines = run(command!, ...rest).split('\n');
    const [names, values] = lines.filter((line) => line.startsWith('Tcp:')).map((line) => line.split(' '));
    return Number(values![names!.indexOf('RetransSegs')]);
  }

  /** The cable goes with it. */
  [Symbol.dispose](): void {
    run('ip', 'netns', 'delete', this.#name);
  }
}

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8' });
}
