import { useMutation, useQuery } from '@tanstack/react-query'
import { Link, useParams } from '@tanstack/react-router'
import { useState } from 'react'
import { client, unwrap } from '@/api/client'
import { codeOfFinding } from '@/api/code'
import { queries } from '@/api/queries'
import { at } from '@/api/root'
import type { Finding, Group, Replay } from '@/api/types'
import { day, figure, plural } from '@/api/words'
import { FindingResult } from '@/panels/finding/FindingResult'
import { ProvenanceList, ProvenanceStrip } from '@/panels/provenance/ProvenanceStrip'
import { encodeEntry, packBasket, remainderParam } from '@/state/basket'
import { useTitle } from '@/state/hooks'
import { encodePrompt, type PromptSpec } from '@/state/prompts'
import { TOP_K, type WorkbenchSearch, withoutDefaults } from '@/state/workbench'
import { Button, CopyButton } from '@/ui/controls'
import { ExportMenu } from '@/ui/Export'
import { Icon } from '@/ui/Icon'
import { SanitisedNotes } from '@/ui/Markdown'
import { Dialog, ErrorNotice, Notice, Panel, Skeleton } from '@/ui/surfaces'
import { LoadFailed } from './Root'

const FILES = { csv: 'CSV', json: 'JSON', md: 'Markdown', html: 'HTML', bib: 'BibTeX' }

export function FindingPage() {
  const { slug } = useParams({ from: '/f/$slug' })
  const query = useQuery(queries.finding(slug))
  if (query.data) return <FindingView key={slug} finding={query.data} />
  if (query.error) return <LoadFailed error={query.error} retry={() => query.refetch()} />
  return (
    <div className="page">
      <Skeleton height={120} label="Loading the finding" />
      <Skeleton height={320} />
    </div>
  )
}

function FindingView({ finding }: { finding: Finding }) {
  useTitle(finding.title)
  const decomposition = useQuery(queries.decomposition(finding.decomposition))
  const groups = useQuery(queries.groups(finding.decomposition))
  const replay = useMutation({
    mutationFn: () =>
      unwrap(client.POST('/api/findings/{slug}/replay', { params: { path: { slug: finding.slug } } })),
  })
  const request = finding.results[0]?.request
  const components = request?.components ?? []
  const known = decomposition.data?.prompts ?? []
  const specs = finding.results.map(({ request: own, result }): PromptSpec => {
    const ids = result.tokens.map((token) => token.id)
    const same = known.find(
      (prompt) => prompt.bos === own.bos && prompt.tokens.map((token) => token.id).join() === ids.join(),
    )
    return same ? { text: same.text, bos: same.bos } : { ids, bos: own.bos }
  })
  const watched = finding.results[0]?.result.positions[0]?.watched.map((row) => row.token) ?? []
  const allGroups: Group[] = groups.data?.items ?? []
  const search: WorkbenchSearch = withoutDefaults({
    p: specs.map(encodePrompt),
    a: packBasket(components, finding.groups, allGroups).map(encodeEntry),
    cond: components.length > 0 ? 'a' : 'none',
    mode: request?.mode,
    rem: components.length > 0 ? remainderParam(request?.mode, request?.remainder) : undefined,
    at: finding.results.map(({ result }, i) =>
      finding.focus[i] === result.tokens.length - 1 ? -1 : (finding.focus[i] ?? -1),
    ),
    w: watched.length > 0 ? watched : undefined,
    k: request?.top_k ?? TOP_K,
  })
  const maxKl = Math.max(...finding.results.map(({ result }) => result.max_kl))
  const worst = Math.max(...finding.results.map(({ result }) => result.self_check.max_kl))
  return (
    <div className="page finding">
      <div className="page-head">
        <div>
          <p className="row small faint">
            <Link to="/findings">Findings</Link>
            <span>{day(finding.created_at)}</span>
            <Link to="/d/$id" params={{ id: finding.decomposition }} className="mono">
              {finding.decomposition}
            </Link>
            {finding.featured && <span className="badge accent">featured</span>}
          </p>
          <h1>{finding.title}</h1>
          {finding.claim && <p className="lead">{finding.claim}</p>}
        </div>
        <span className="row">
          <CopyButton text={window.location.href}>Copy link</CopyButton>
          <Embed slug={finding.slug} title={finding.title} />
          <ExportMenu
            of={finding.slug}
            name="finding"
            title="this finding"
            links={Object.entries(FILES).map(([kind, label]) => ({
              label,
              href: at(`/api/findings/${encodeURIComponent(finding.slug)}.${kind}`),
            }))}
            code={(kind) => codeOfFinding(finding.slug, kind)}
          />
          <Link to="/d/$id/workbench" params={{ id: finding.decomposition }} search={search} className="btn">
            Open in the workbench
          </Link>
          <Button kind="primary" disabled={replay.isPending} onClick={() => replay.mutate()}>
            <Icon name="again" /> {replay.isPending ? 'Computing…' : 'Re-run'}
          </Button>
        </span>
      </div>
      {replay.data && <Verdict replay={replay.data} />}
      <ErrorNotice error={replay.error} onRetry={() => replay.mutate()} />
      <p className="soft">
        {components.length === 0
          ? 'Nothing was suppressed.'
          : `${plural(components.length, 'component')} ${request?.mode === 'keep_only' ? 'kept, all others off' : 'suppressed'}`}
        {finding.groups.length > 0 && (
          <>
            {' '}
            in{' '}
            {finding.groups.map((group) => (
              <span key={group} className="badge accent">
                group {group}
              </span>
            ))}
          </>
        )}
      </p>
      <div className="finding-results">
        {finding.results.map((result, i) => (
          <FindingResult
            key={i}
            slug={finding.slug}
            index={i}
            result={result}
            sentence={finding.summary[i] ?? null}
            focus={finding.focus[i] ?? -1}
            answer={known.find((prompt) => prompt.text === specs[i]?.text)?.answer ?? null}
            maxKl={maxKl}
            replayed={replay.data?.results[i] ?? null}
          />
        ))}
      </div>
      {finding.notes_html && (
        <Panel title="Notes">
          <div className="pad">
            <SanitisedNotes html={finding.notes_html} />
          </div>
        </Panel>
      )}
      <Panel title="Suppressed components" aside={plural(components.length, 'component')}>
        <details className="more">
          <summary>List of components</summary>
          <ul className="component-list">
            {components.map((component) => (
              <li key={component.key}>
                <Link
                  to="/d/$id/c/$key"
                  params={{ id: finding.decomposition, key: component.key }}
                  className="mono"
                >
                  {component.key}
                </Link>{' '}
                <span className="small soft">
                  strength {component.strength}
                  {component.positions ? `, at ${component.positions.join(', ')}` : ', all positions'}
                </span>
              </li>
            ))}
          </ul>
        </details>
        <div className="pad">
          <ProvenanceList provenance={finding.provenance} />
        </div>
      </Panel>
      <ProvenanceStrip
        provenance={finding.provenance}
        threshold={finding.provenance.threshold}
        selfCheck={worst}
        source="recorded"
      />
    </div>
  )
}

/** The finding as a frame for another site: its code, and a preview. */
function Embed({ slug, title }: { slug: string; title: string }) {
  const [open, setOpen] = useState(false)
  const address = window.location.origin + at(`/f/${slug}/embed`)
  const quoted = title.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;')
  const lines = `<iframe src="${address}" title="${quoted}" width="640" height="420" loading="lazy" style="border:1px solid #ddd;border-radius:8px"></iframe>`
  return (
    <>
      <Button onClick={() => setOpen(true)}>Embed</Button>
      <Dialog
        open={open}
        onOpenChange={setOpen}
        title="Embed this finding"
        description="Paste this code into a page. The frame shows the recorded numbers, without scripts, wherever this server can be reached."
      >
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard */}
        <pre className="config embed-lines" tabIndex={0}>
          {lines}
        </pre>
        <p className="row">
          <CopyButton text={lines}>Copy code</CopyButton>
          <a className="btn quiet" href={at(`/f/${slug}/embed`)} target="_blank" rel="noopener">
            Open the frame alone
          </a>
        </p>
      </Dialog>
    </>
  )
}

function Verdict({ replay }: { replay: Replay }) {
  const tone = replay.verdict === 'same' ? 'good' : replay.verdict === 'close' ? 'warn' : 'error'
  const words = {
    same: 'The same numbers',
    close: 'Close to the recorded numbers',
    different: 'Different numbers',
  }[replay.verdict]
  return (
    <Notice tone={tone}>
      <strong>{words}.</strong> {replay.explanation} Largest difference of a probability:{' '}
      {figure(replay.max_probability_difference)}. Stored and new values are side by side below.
    </Notice>
  )
}
