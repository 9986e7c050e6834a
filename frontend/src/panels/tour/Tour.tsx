/**
 * A short tour on the induction model: what subcomponents, causal importance and suppression are, by doing it.
 * It is part of the page, covers nothing, and its step is in the address.
 */
import { Link } from '@tanstack/react-router'
import { type ReactNode, useEffect, useRef } from 'react'
import { plural, probability, visible } from '@/api/words'
import { shiftAt } from '@/state/shift'
import { rememberTour, TOUR_OF, tourExample, useTourSeen } from '@/state/tour'
import { subjectOfPrompt } from '@/state/useComparison'
import type { Patch, Workbench } from '@/state/useWorkbench'
import { TOUR_STEPS } from '@/state/workbench'
import { Button } from '@/ui/controls'
import { Icon } from '@/ui/Icon'
import './tour.css'

interface Step {
  title: string
  text: ReactNode
  /** The panel it is about: a selector. */
  shows: string
  /** What a click does for the reader; null where there is nothing to do. */
  act: { label: string; patch: Patch; done: boolean } | null
}

export function Tour({ bench }: { bench: Workbench }) {
  const seen = useTourSeen()
  const step = bench.search.tour
  if (step === undefined) return seen ? null : <Offer bench={bench} />
  if (bench.id !== TOUR_OF) return <Offer bench={bench} />
  return <Running bench={bench} number={step} />
}

function Offer({ bench }: { bench: Workbench }) {
  const there = bench.id === TOUR_OF
  const close = () => {
    rememberTour()
    bench.set({ tour: undefined }, { replace: true })
  }
  return (
    <section className="tour offer" aria-label="Tour, offered">
      <p>
        <b>New here?</b> Two minutes on the smallest model show what a subcomponent is, what causal importance
        means, and what happens when one is removed.
      </p>
      <span className="row">
        {there ? (
          <Button kind="primary" size="small" onClick={() => bench.set({ tour: 1 })}>
            Take the tour
          </Button>
        ) : (
          <Link
            className="btn primary small"
            to="/d/$id/workbench"
            params={{ id: TOUR_OF }}
            search={{ tour: 1 }}
          >
            Take the tour
          </Link>
        )}
        <Button size="small" kind="quiet" onClick={close}>
          Not now
        </Button>
      </span>
    </section>
  )
}

function Running({ bench, number }: { bench: Workbench; number: number }) {
  const steps = stepsOf(bench)
  const step = steps[number - 1]
  const title = useRef<HTMLHeadingElement>(null)
  const shows = step?.shows
  // The panel of a step is scrolled into view and marked; the heading gets the focus, so that it is read out.
  // biome-ignore lint/correctness/useExhaustiveDependencies: once a step
  useEffect(() => {
    title.current?.focus({ preventScroll: true })
    const panel = shows ? document.querySelector<HTMLElement>(shows) : null
    if (!panel) return
    panel.classList.add('toured')
    const still = matchMedia('(prefers-reduced-motion: reduce)').matches
    const box = panel.getBoundingClientRect()
    if (box.top < 0 || box.top > window.innerHeight * 0.7)
      panel.scrollIntoView({ block: 'center', behavior: still ? 'auto' : 'smooth' })
    return () => panel.classList.remove('toured')
  }, [number])
  if (!step) return null
  const go = (tour: number | undefined) => {
    if (tour === undefined) rememberTour()
    bench.set({ tour })
  }
  const last = number === TOUR_STEPS
  return (
    <section
      className="tour"
      aria-label="Tour"
      onKeyDown={(event) => event.key === 'Escape' && go(undefined)}
    >
      <div className="tour-head">
        <h2 tabIndex={-1} ref={title}>
          {step.title}
        </h2>
        <span className="small soft num">
          {number} of {TOUR_STEPS}
        </span>
        <span className="grow" />
        <Button kind="quiet" size="small" icon aria-label="End the tour" onClick={() => go(undefined)}>
          <Icon name="close" />
        </Button>
      </div>
      <div className="tour-text">{step.text}</div>
      <div className="tour-foot">
        {number > 1 && (
          <Button size="small" kind="quiet" onClick={() => go(number - 1)}>
            Back
          </Button>
        )}
        {step.act && !step.act.done && (
          <Button size="small" kind="primary" onClick={() => bench.set(step.act?.patch ?? {})}>
            {step.act.label}
          </Button>
        )}
        <Button
          size="small"
          kind={step.act && !step.act.done ? 'plain' : 'primary'}
          onClick={() => go(last ? undefined : number + 1)}
        >
          {last ? 'Done' : 'Next'}
        </Button>
        {last && (
          <Link
            className="small"
            to="/d/$id/workbench"
            params={{ id: 'sports-smollm2' }}
            search={{ a: ['~␣Woods'], cond: 'a' }}
            onClick={rememberTour}
          >
            The same on a language model: athletes and their sports
          </Link>
        )}
      </div>
    </section>
  )
}

/** The steps, in terms of what is on screen: no number in them is hard-coded. */
function stepsOf(bench: Workbench): Step[] {
  const prompt = bench.prompts[0]
  const example = prompt ? tourExample(prompt.tokens) : null
  const trigger = visible(example?.trigger ?? 'S')
  const answer = visible(example?.answer ?? 'm')
  const subject = prompt && subjectOfPrompt(prompt)
  const at = example ? example.first + 1 : 0
  const sites = bench.decomposition.site_summaries
  const perSite = sites[0]?.components ?? 0
  const alive = bench.decomposition.alive
  const group = bench.groups.find((one) => one.token === example?.trigger) ?? bench.groups[0]
  const chosen = group ? `~${group.name}` : null
  const applied = bench.condition === 'a' && bench.baskets.a.length > 0
  const result = prompt?.shown.data
  const shift = result && shiftAt(result, prompt.position)
  const gone = applied && shift && subject ? subject.ablated.probability : null
  const Token = ({ children }: { children: string }) => <b className="mono">{children}</b>
  return [
    {
      title: 'A model with one trick',
      shows: '.prompts',
      act: null,
      text: (
        <p>
          In each prompt <Token>{trigger}</Token> occurs twice. At the end the model must predict what
          followed it the first time: here <Token>{answer}</Token>
          {subject && (
            <>
              , to which it gives <b className="num">{probability(subject.baseline.probability)}</b>
            </>
          )}
          . Nothing else in the prompt matters. How does it do that?
        </p>
      ),
    },
    {
      title: 'Subcomponents',
      shows: '.matters',
      act: null,
      text: (
        <p>
          Each weight matrix is a sum of rank-1 matrices. Each reads <em>one</em> direction of the input and
          writes <em>one</em> direction of the output: a subcomponent. This run gave each of {sites.length}{' '}
          matrices {perSite} of them; only {plural(alive, 'one is', 'are')} used at all. The list shows those
          that are important in this prompt, and where.
        </p>
      ),
    },
    {
      title: 'Causal importance',
      shows: '.grid-panel',
      act: {
        label: `Look at ${answer}, position ${at}`,
        patch: { n: 1, col: at, row: undefined },
        done: bench.search.col === at,
      },
      text: (
        <p>
          A number from 0 to 1 for each subcomponent at each token. At 0 it can be removed, by any amount,
          without changing the output; at 1 it is needed. Nearly all of the map is blank, except at{' '}
          <Token>{trigger}</Token> both times, and <Token>{answer}</Token> after the first, where the model
          records what it has to repeat.
        </p>
      ),
    },
    {
      title: 'Suppression',
      shows: '.basket',
      act: chosen
        ? {
            label: `Suppress the ${group?.token ? visible(group.token) : ''} group`,
            patch: { a: [chosen], cond: 'a', mode: undefined, rem: undefined },
            done: applied,
          }
        : null,
      text: (
        <p>
          If a subcomponent is responsible for the answer, removing it must remove the answer. Suppressing
          subtracts it from the weights and leaves everything else unchanged. Put the group{' '}
          <Token>{trigger}</Token> into basket A and press Suppress.
          {gone !== null && subject && (
            <>
              {' '}
              Now <Token>{answer}</Token> has gone from {probability(subject.baseline.probability)} to{' '}
              <b className="num">{probability(gone)}</b>.
            </>
          )}
        </p>
      ),
    },
    {
      title: 'Before and after',
      shows: '.shift',
      act: null,
      text: (
        <p>
          The table holds every difference: probability, logit, rank. The bars below are the KL at each
          position, how far the output moved there: where nothing has to be repeated, nothing moves. With
          nothing suppressed the KL must be 0 up to rounding: that is the self-check at the foot of the page.
        </p>
      ),
    },
    {
      title: 'Your turn',
      shows: '.prompts',
      act: {
        label: 'Restore the model',
        patch: { cond: undefined },
        done: bench.condition === 'none',
      },
      text: (
        <p>
          Click a cell to see its components. Suppress one at half strength, or at one position. Compare
          basket A with B. Type another prompt. The address holds all of it: whoever opens it sees the same.
          “?” opens this tour and the list of keys.
        </p>
      ),
    },
  ]
}
