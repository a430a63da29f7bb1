import {
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  type Panel,
  RowBuilder,
  type VariableModel,
} from '@grafana/grafana-foundation-sdk/dashboard';
import type { Builder } from './panels.js';
import { datasource } from './variables.js';

export interface Section {
  /** None for the panels at the top. */
  readonly title?: string;
  readonly panels: readonly Builder<Panel>[];
}

export interface DashboardOptions {
  /** Name of the file, and the end of the address. */
  readonly name: string;
  readonly title: string;
  readonly description: string;
  /** Beside the data source, in this order: later ones may depend on earlier ones. */
  readonly variables: readonly Builder<VariableModel>[];
  readonly sections: readonly Section[];
}

/** The newest format that Grafana 10.0 knows; later ones read it. */
const SCHEMA = 38;

/** A whole dashboard. Equal options give equal bytes. */
export function dashboard({ name, title, description, variables, sections }: DashboardOptions): Dashboard {
  const builder = new DashboardBuilder(`meshtap / ${title}`)
    .uid(`meshtap-${name}`)
    .description(description)
    .tags(['meshtap'])
    .time({ from: 'now-1h', to: 'now' })
    .timezone('browser')
    .refresh('30s')
    .tooltip(DashboardCursorSync.Crosshair)
    .link(
      new DashboardLinkBuilder('meshtap')
        .type(DashboardLinkType.Dashboards)
        .tags(['meshtap'])
        .includeVars(true)
        .keepTime(true),
    )
    .variables([datasource(), ...variables]);
  for (const { title, panels } of sections) {
    if (title) builder.withRow(new RowBuilder(title));
    for (const panel of panels) builder.withPanel(panel);
  }
  const built = builder.build();
  const panels = (built.panels ?? []).map((panel, i) => ({ ...panel, id: i + 1 }));
  return {
    ...built,
    schemaVersion: SCHEMA,
    panels,
    templating: { list: plain(built.templating.list) },
  } as Dashboard;
}

/** The builders give every variable what only interval variables have. */
function plain(variables: readonly VariableModel[] = []) {
  return variables.map(({ auto, auto_min, auto_count, ...variable }) => variable);
}
