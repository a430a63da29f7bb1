import type { BpfLink } from '../src/bpf/link.js';
import type { LoadedObject } from '../src/bpf/object.js';
import { type ProgramStatistics, statisticsOf, withStatistics } from './programs.js';
import { type Figure, figure, interleave } from './rounds.js';
import { Sidecars } from './sidecar.js';
import { type Round, SHAPES, type Shape, type Traffic } from './traffic.js';

export interface Effort {
  readonly shapes: readonly Shape[];
  readonly rounds: number;
  readonly seconds: number;
}

export const FULL: Effort = { shapes: SHAPES, rounds: 10, seconds: 3 };
export const QUICK: Effort = { shapes: SHAPES.slice(0, 1), rounds: 3, seconds: 1 };

/** What one program costs with one shape of traffic, net of an empty program in its place. */
export interface ProgramCost {
  readonly name: string;
  /** Nanoseconds. */
  readonly perRun: Figure;
  /** At both ends together. */
  readonly runsPerRequest: number;
}

export interface ShapeCost {
  readonly shape: string;
  readonly programs: readonly ProgramCost[];
  /** Nanoseconds that a request takes longer at each end where meshtap sees it. */
  readonly perRequestAndEnd: Figure;
}

/** What a set-up does to a shape of traffic, relative to the same round without it. */
export interface Effect {
  /** Requests per second. */
  readonly throughput: Figure;
  /** 99th percentile of the latency. */
  readonly p99: Figure;
}

export interface ShapeEffect {
  readonly shape: string;
  readonly meshtap: Effect;
  /** A pair of proxies with TLS between them. HTTP/1 only. */
  readonly sidecars: Effect | undefined;
  /** Medians without either, for the order of magnitude. */
  readonly without: { readonly requestsPerSecond: number; readonly p99Milliseconds: number };
}

/** Nanoseconds per program run, by the kernel's own clock. */
export function measureCost(
  traffic: Traffic,
  empty: LoadedObject,
  meshtap: LoadedObject,
  { shapes, rounds, seconds }: Effort,
): Promise<ShapeCost[]> {
  return withStatistics(async () => {
    const costs: ShapeCost[] = [];
    for (const shape of shapes) {
      const watched = (object: LoadedObject) => () =>
        attached(object, traffic, async () => {
          const before = statisticsOf(object);
          const { requests } = await traffic.load(shape, seconds);
          return { requests, programs: difference(before, statisticsOf(object)) };
        });
      costs.push(
        costOf(
          shape,
          await interleave<Watched, [() => Promise<Watched>, () => Promise<Watched>]>(
            rounds,
            watched(empty),
            watched(meshtap),
          ),
        ),
      );
    }
    return costs;
  });
}

interface Watched {
  readonly requests: number;
  readonly programs: readonly ProgramStatistics[];
}

const perRun = ({ nanoseconds, runs }: ProgramStatistics) => (runs ? nanoseconds / runs : 0);

function costOf({ name }: Shape, rounds: readonly [empty: Watched, meshtap: Watched][]): ShapeCost {
  const net = rounds.map(([empty, { requests, programs }]) =>
    programs.map((program) => {
      const idle = empty.programs.find((other) => other.name === program.name)!;
      const cost = program.runs ? perRun(program) - perRun(idle) : 0;
      return { name: program.name, cost, runsPerRequest: program.runs / requests };
    }),
  );
  return {
    shape: name,
    programs: net[0]!.map(({ name }, i) => ({
      name,
      perRun: figure(net.map((programs) => programs[i]!.cost)),
      runsPerRequest: figure(net.map((programs) => programs[i]!.runsPerRequest)).median,
    })),
    perRequestAndEnd: figure(
      net.map(
        (programs) => programs.reduce((sum, { cost, runsPerRequest }) => sum + cost * runsPerRequest, 0) / 2,
      ),
    ),
  };
}

function difference(before: readonly ProgramStatistics[], after: readonly ProgramStatistics[]) {
  return after.map((program, i) => ({
    ...program,
    runs: program.runs - before[i]!.runs,
    nanoseconds: program.nanoseconds - before[i]!.nanoseconds,
  }));
}

/** What nginx and wrk feel of it, and of sidecars in its place. */
export async function measureEffect(
  traffic: Traffic,
  meshtap: LoadedObject,
  { shapes, rounds, seconds }: Effort,
): Promise<ShapeEffect[]> {
  await using sidecars = await Sidecars.start(traffic.cgroup, traffic.port);
  const effects: ShapeEffect[] = [];
  for (const shape of shapes) {
    const load = () => traffic.load(shape, seconds);
    const setUps = [load, () => attached(meshtap, traffic, load)];
    if (shape.streams === undefined) setUps.push(() => traffic.load(shape, seconds, sidecars.port));
    const all = await interleave<Round, typeof setUps>(rounds, ...setUps);
    const effectOf = (place: number): Effect => ({
      throughput: figure(all.map((round) => round[place]!.rate / round[0]!.rate)),
      p99: figure(all.map((round) => round[place]!.p99 / round[0]!.p99)),
    });
    effects.push({
      shape: shape.name,
      meshtap: effectOf(1),
      sidecars: setUps.length > 2 ? effectOf(2) : undefined,
      without: {
        requestsPerSecond: figure(all.map(([without]) => without!.rate)).median,
        p99Milliseconds: figure(all.map(([without]) => without!.p99)).median,
      },
    });
  }
  return effects;
}

async function attached<T>(object: LoadedObject, { cgroup }: Traffic, work: () => Promise<T>): Promise<T> {
  const links: BpfLink[] = object.attach(cgroup);
  try {
    return await work();
  } finally {
    for (const link of links) link.close();
  }
}
