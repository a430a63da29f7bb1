import { enums } from '../bpf/generated/counts.js';
import { MeshtapError } from '../errors.js';
import type { Memory } from './receiver.js';

const { ROUTE_NONE, ROUTE_OTHER, FIRST_ROUTE } = enums.route;
const LAST_ROUTE = 0xffff;
/** Beyond the time for which a program may use what it looked up, nanoseconds. */
const SETTLED = 2_000_000_000n;
/** When nothing that began while a route was there can still end in its name. */
const FORGOTTEN = BigInt(enums.route_bound.ROUTE_LIVES) * 1_000_000_000n + SETTLED;
const NAME = 'routes';

/** A route that has an id. */
interface Known {
  readonly id: number;
  /** Since when no pattern leads to it, nanoseconds of the monotonic clock, which is the kernel's too; 0 = one does. */
  gone: bigint;
}

/**
 * Which route has which id. A route keeps its id for as long as there is a pattern for it, and longer: the id is given to
 * another one only if there is no other left, the route has been gone for a day (no exchange that lasts longer has a route)
 * and no series has it. Scopes have numbers in the same way, but for ever.
 */
export class RouteIds {
  readonly #memory: Memory | undefined;
  readonly #clock: () => bigint;
  readonly #last: number;
  readonly #byText = new Map<string, Known>();
  readonly #texts = new Map<number, string>();
  readonly #scopes: string[] = [];

  constructor(
    memory: Memory | undefined,
    { clock = process.hrtime.bigint, last = LAST_ROUTE }: { clock?: () => bigint; last?: number } = {},
  ) {
    this.#memory = memory;
    this.#clock = clock;
    this.#last = last;
    const kept = memory?.kept(NAME);
    if (!kept) return;
    const { routes, scopes } = JSON.parse(Buffer.from(kept).toString()) as Kept;
    for (const [text, id, gone] of routes) this.#add(text, { id, gone: BigInt(gone) });
    this.#scopes.push(...scopes);
  }

  /** Routes that have an id now. */
  get used(): number {
    return this.#byText.size;
  }

  /** How many there can be. */
  get limit(): number {
    return this.#last - FIRST_ROUTE + 1;
  }

  /** What an id of a series stands for: undefined for no route, `*` for none of those there are. */
  textOf(id: number): string | undefined {
    if (id === ROUTE_NONE) return undefined;
    return id === ROUTE_OTHER ? '*' : (this.#texts.get(id) ?? 'unknown');
  }

  /** The id of a route that was assigned one. */
  idOf(text: string): number {
    return this.#byText.get(text)!.id;
  }

  /** By number: the scopes that were ever assigned one; 0 is that of servers whose routes are not known. */
  get scopes(): readonly (string | undefined)[] {
    return [undefined, ...this.#scopes];
  }

  scopeNumberOf(name: string): number {
    return this.#scopes.indexOf(name) + 1;
  }

  /**
   * From now on there are these routes and scopes, and no others. Written down before it returns. Throws PATTERN_REFUSED
   * if there is no id left.
   * @param inSeries texts that series carry
   */
  assign(texts: ReadonlySet<string>, scopes: readonly string[], inSeries: ReadonlySet<string>): void {
    const now = this.#clock();
    for (const text of texts) {
      const known = this.#byText.get(text);
      if (known) known.gone = 0n;
    }
    for (const [text, known] of this.#byText) if (!texts.has(text) && known.gone === 0n) known.gone = now;
    let next = FIRST_ROUTE as number;
    for (const text of texts) {
      if (this.#byText.has(text)) continue;
      while (next <= this.#last && this.#texts.has(next)) next++;
      const id = next <= this.#last ? next : this.#recycle(now, inSeries);
      if (id === undefined) {
        throw new MeshtapError(
          'PATTERN_REFUSED',
          `there are more than ${this.limit} routes, with those of today`,
          {
            hint: 'Those that were taken away make room a day later',
          },
        );
      }
      this.#add(text, { id, gone: 0n });
    }
    for (const name of scopes) if (!this.#scopes.includes(name)) this.#scopes.push(name);
    this.#keep();
  }

  #add(text: string, known: Known): void {
    this.#byText.set(text, known);
    this.#texts.set(known.id, text);
  }

  /** The id of the route that has been gone longest. */
  #recycle(now: bigint, inSeries: ReadonlySet<string>): number | undefined {
    let oldest: { text: string; known: Known } | undefined;
    for (const [text, known] of this.#byText) {
      if (known.gone === 0n || now - known.gone < FORGOTTEN || inSeries.has(text)) continue;
      if (!oldest || known.gone < oldest.known.gone) oldest = { text, known };
    }
    if (!oldest) return undefined;
    this.#byText.delete(oldest.text);
    this.#texts.delete(oldest.known.id);
    return oldest.known.id;
  }

  #keep(): void {
    const routes = [...this.#byText].map(([text, { id, gone }]) => [text, id, String(gone)] as const);
    this.#memory?.keep(NAME, Buffer.from(JSON.stringify({ routes, scopes: this.#scopes } satisfies Kept)));
  }
}

interface Kept {
  readonly routes: readonly (readonly [text: string, id: number, gone: string])[];
  readonly scopes: readonly string[];
}
