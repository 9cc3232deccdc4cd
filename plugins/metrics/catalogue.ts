import type { Counter, Gauge, LabelSpec } from './families.ts'
import type { Histogram } from './histogram.ts'

/** One metric as data: what is registered, documented and checked is made from this. */
export type MetricSpec =
  | { type: 'counter' | 'gauge'; help: string; labels?: LabelSpec }
  | { type: 'histogram'; help: string; labels?: LabelSpec; buckets: readonly number[] }

/** Metrics by name. */
export type Catalogue = Readonly<Record<string, MetricSpec>>

/** The spec of a metric without labels. */
export type NoLabels = Readonly<Record<string, never>>

type Labels<S extends MetricSpec> = S extends { labels: infer L extends LabelSpec } ? L : NoLabels

/** The typed handle of each metric of a catalogue: a name, label or value that is not in it does not compile. */
export type Handles<C extends Catalogue> = {
  readonly [N in keyof C]: C[N]['type'] extends 'counter'
    ? Counter<Labels<C[N]>>
    : C[N]['type'] extends 'gauge'
      ? Gauge<Labels<C[N]>>
      : Histogram<Labels<C[N]>>
}
