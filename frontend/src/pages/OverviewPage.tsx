import { Link, useParams } from '@tanstack/react-router'
import type { Decomposition } from '@/api/types'
import { count, day, duration, magnitude } from '@/api/words'
import { AblationChecks } from '@/panels/evidence/AblationChecks'
import { Curves } from '@/panels/evidence/Curves'
import { EvidenceTable } from '@/panels/evidence/EvidenceTable'
import { FactsPanel } from '@/panels/evidence/FactsPanel'
import { InductionCircuit } from '@/panels/evidence/InductionCircuit'
import { MethodParts } from '@/panels/evidence/MethodParts'
import { PaperTablePanel } from '@/panels/evidence/PaperTablePanel'
import { RunDetails } from '@/panels/evidence/RunDetails'
import { RunPrompts } from '@/panels/evidence/RunPrompts'
import { Sites } from '@/panels/evidence/Sites'
import { VariantsPanel } from '@/panels/evidence/VariantsPanel'
import { KeepHouse } from '@/panels/house/KeepHouse'
import { TargetNotice } from '@/panels/target/TargetNotice'
import { useTitle } from '@/state/hooks'
import { Notice } from '@/ui/surfaces'
import { WithDecomposition } from './WithDecomposition'

export function OverviewPage() {
  const { id } = useParams({ from: '/d/$id' })
  return (
    <WithDecomposition id={id} heights={[110, 320]}>
      {(d) => <Overview d={d} />}
    </WithDecomposition>
  )
}

function Overview({ d }: { d: Decomposition }) {
  useTitle(d.title)
  const facts: [string, string][] = [
    ['model', `${d.model.name}, ${d.model.architecture}, ${magnitude(d.model.parameters)} parameters`],
    ['decomposed', `${count(d.sites)} weight matrices`],
    ['subcomponents alive', `${count(d.alive)} of ${count(d.components)}`],
    [
      'trained',
      `${day(d.created_at)}${d.training_seconds === null ? '' : `, in ${duration(d.training_seconds)}`}`,
    ],
    ['reconstruction measured on', d.reconstruction_positions],
  ]
  return (
    <div className="page">
      <div className="page-head">
        <div>
          <h1>{d.title}</h1>
          <p className="lead">{d.description}</p>
        </div>
        <span className="row">
          <Link to="/d/$id/workbench" params={{ id: d.id }} className="btn primary">
            Open the workbench
          </Link>
          <Link to="/d/$id/components" params={{ id: d.id }} className="btn">
            Components
          </Link>
          <KeepHouse decomposition={d} />
        </span>
      </div>
      <TargetNotice decomposition={d} />
      <dl className="fact-row">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {d.notes.length > 0 && (
        <Notice>
          {d.notes.map((note) => (
            <p key={note}>{note}</p>
          ))}
        </Notice>
      )}
      {d.paper_table && <InductionCircuit id={d.id} sites={d.site_summaries.map((one) => one.site)} />}
      {d.paper_table && <PaperTablePanel table={d.paper_table} from={d.provenance} />}
      {d.facts && <FactsPanel facts={d.facts} from={d.provenance} />}
      <EvidenceTable rows={d.evidence} positions={d.reconstruction_positions} from={d.provenance} />
      <MethodParts parts={d.method} from={d.provenance} />
      {d.variants && <VariantsPanel table={d.variants} from={d.provenance} />}
      <AblationChecks checks={d.ablation_checks} from={d.provenance} />
      <Sites sites={d.site_summaries} from={d.provenance} />
      <Curves curves={d.curves} from={d.provenance} />
      <RunPrompts prompts={d.prompts} from={d.provenance} />
      <RunDetails decomposition={d} />
    </div>
  )
}
