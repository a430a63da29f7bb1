import { setTimeout as sleep } from 'node:timers/promises';
import { explain } from '../errors.js';
import { ApiError, type KubernetesApi, type WatchEvent } from './kubernetes-api.js';

/** What of the API is watched, and what is kept of it. */
export interface Resource<T> {
  /** What `meshtap status` and metrics call it: `pods`. */
  readonly name: string;
  /** The collection's path, such as `/api/v1/pods`. Asked before each list. */
  path(signal: AbortSignal): string | Promise<string>;
  /** @default everything */
  readonly fieldSelector?: string;
  /** What can be left out of a list besides, though changes of it are of interest. @default nothing */
  readonly listSelector?: string;
  /** Whether `metadata` is all that is needed of the objects. @default false */
  readonly metadataOnly?: boolean;
  /** Takes from an object what is needed, so that the rest can go. */
  extract(object: never): T;
}

/** Where it is kept. The next change comes when the promise of the last one has resolved. */
export interface Sink<T> {
  /** Everything that exists. */
  replace(items: readonly T[]): Promise<void>;
  /** What changed, in order. */
  apply(changes: readonly Change<T>[]): Promise<void>;
}

export interface Change<T> {
  readonly type: 'set' | 'delete';
  readonly item: T;
}

export interface ReflectorOptions {
  /** Objects in one answer of a list. */
  readonly pageSize: number;
  /** After how many seconds the server is asked to end a watch; between this and twice as much. */
  readonly watchSeconds: number;
  /** Told when there is no watch, and why, each time for another reason; and when there is one again. */
  readonly tell: (resource: string, problem: string | undefined) => void;
  /** Waiting after failures: the first and the longest, milliseconds. */
  readonly backoff: { readonly first: number; readonly longest: number };
}

/** Part of every object and of every list. */
interface WithMetadata {
  readonly metadata: { readonly resourceVersion?: string; readonly continue?: string };
}

interface List extends WithMetadata {
  readonly items?: readonly never[];
}

/**
 * Keeps a copy of one resource of the API server: lists it once, then follows its changes. A watch that ends or drops
 * is taken up where it was; only if the server does not remember that moment (410) is everything listed again. While
 * there is no connection, what was known stays.
 */
export class Reflector<T> {
  readonly #api: KubernetesApi;
  readonly #resource: Resource<T>;
  readonly #sink: Sink<T>;
  readonly #options: ReflectorOptions;
  /** Undefined: everything is to be listed. */
  #resourceVersion: string | undefined;
  #path = '';
  #heardAt: number | undefined;
  #problem: string | undefined;
  #failures = 0;
  /** Resolves when everything was listed once, or the first attempt failed. */
  readonly tried: Promise<void>;
  #done!: () => void;

  constructor(api: KubernetesApi, resource: Resource<T>, sink: Sink<T>, options: ReflectorOptions) {
    this.#api = api;
    this.#resource = resource;
    this.#sink = sink;
    this.#options = options;
    this.tried = new Promise((resolve) => {
      this.#done = resolve;
    });
  }

  get name(): string {
    return this.#resource.name;
  }

  /** Seconds since the server last said anything about this resource; undefined if it never did. */
  get age(): number | undefined {
    return this.#heardAt === undefined ? undefined : (performance.now() - this.#heardAt) / 1000;
  }

  /** Why there is no watch just now. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Goes on until the signal, whatever happens. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        if (this.#resourceVersion === undefined) await this.#list(signal);
        this.#done();
        await this.#watch(signal);
      } catch (error) {
        if (signal.aborted) break;
        await this.#failed(error, signal);
      }
    }
    this.#done();
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { pageSize } = this.#options;
    this.#path = await this.#resource.path(signal);
    try {
      await this.#listPages(pageSize, signal);
    } catch (error) {
      // The server forgot the list between two pages: it took too long. In one piece it can not be forgotten.
      if (!isGone(error)) throw error;
      await this.#listPages(undefined, signal);
    }
  }

  async #listPages(pageSize: number | undefined, signal: AbortSignal): Promise<void> {
    const { listSelector } = this.#resource;
    const items: T[] = [];
    let next: string | undefined;
    let resourceVersion: string | undefined;
    do {
      const page: List = await this.#api.get(
        this.#url({ ...(pageSize && { limit: pageSize }), ...(next && { continue: next }) }, listSelector),
        this.#request('PartialObjectMetadataList', signal),
      );
      this.#heard();
      for (const object of page.items ?? []) items.push(this.#resource.extract(object));
      // All pages are of one moment, but changes may be told of later ones in the last.
      resourceVersion ??= page.metadata.resourceVersion;
      next = page.metadata.continue || undefined;
    } while (next !== undefined);
    await this.#sink.replace(items);
    this.#resourceVersion = resourceVersion;
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const begun = performance.now();
    const url = this.#url({
      watch: 1,
      allowWatchBookmarks: true,
      resourceVersion: this.#resourceVersion ?? '',
      timeoutSeconds: Math.ceil(this.#options.watchSeconds * (1 + Math.random())),
    });
    for await (const events of this.#api.watch(url, this.#request('PartialObjectMetadata', signal))) {
      this.#heard();
      await this.#take(events);
      if (events.length > 0) this.#failures = 0;
    }
    // A server that ends each watch at once is not to be asked again at once.
    if (performance.now() - begun < 1000) throw new Error('the server ended the watch at once');
    this.#failures = 0;
  }

  async #take(events: readonly WatchEvent[]): Promise<void> {
    const changes: Change<T>[] = [];
    let resourceVersion = this.#resourceVersion;
    let failure: ApiError | undefined;
    for (const { type, object } of events) {
      if (type === 'ERROR') {
        const { code, message } = object as { code?: number; message?: string };
        failure = new ApiError(code ?? 500, message ?? 'the watch failed');
        break;
      }
      if (type !== 'BOOKMARK')
        changes.push({
          type: type === 'DELETED' ? 'delete' : 'set',
          item: this.#resource.extract(object as never),
        });
      resourceVersion = (object as unknown as WithMetadata).metadata.resourceVersion;
    }
    if (changes.length > 0) await this.#sink.apply(changes);
    this.#resourceVersion = resourceVersion;
    if (failure) throw failure;
  }

  #heard(): void {
    this.#heardAt = performance.now();
    this.#now(undefined);
  }

  #now(problem: string | undefined): void {
    if (problem !== this.#problem) this.#options.tell(this.name, problem);
    this.#problem = problem;
  }

  async #failed(error: unknown, signal: AbortSignal): Promise<void> {
    this.#now(explain(error));
    this.#done();
    const { first, longest } = this.#options.backoff;
    // 410: it does not remember. 404: this version of the resource went away with an upgrade.
    if (isGone(error) || (error instanceof ApiError && error.status === 404))
      this.#resourceVersion = undefined;
    const wanted = error instanceof ApiError ? error.retryAfter : undefined;
    const delay = Math.max(
      wanted ?? 0,
      Math.min(longest, first * 2 ** this.#failures) * (0.5 + Math.random()),
    );
    this.#failures++;
    await sleep(delay, undefined, { signal, ref: false }).catch(() => {});
  }

  /** Only the metadata: kubernetes.io, "Kubernetes API Concepts", metadata-only fetches. */
  #request(as: string, signal: AbortSignal) {
    const accept = `application/json;as=${as};g=meta.k8s.io;v=v1,application/json`;
    return this.#resource.metadataOnly ? { signal, accept } : { signal };
  }

  #url(query: Readonly<Record<string, string | number | boolean>>, listSelector?: string): string {
    const fieldSelector = [this.#resource.fieldSelector, listSelector].filter(Boolean).join();
    const parameters = new URLSearchParams(
      Object.entries({ ...query, ...(fieldSelector && { fieldSelector }) }).map(
        ([key, value]): [string, string] => [key, String(value)],
      ),
    );
    return `${this.#path}?${parameters}`;
  }
}

/** 410 Gone; `Expired` and `Gone` are both told so (kubernetes.io, "410 Gone responses"). */
const isGone = (error: unknown) => error instanceof ApiError && error.status === 410;
