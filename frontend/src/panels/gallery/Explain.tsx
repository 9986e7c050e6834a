import './gallery.css'

/** The three terms a newcomer needs, each with a small picture. */
export function Explain() {
  return (
    <section className="explain" aria-label="What is this?">
      <h2>Three words</h2>
      <div className="explain-cards">
        <div>
          <svg viewBox="0 0 150 44" aria-hidden="true" className="explain-art">
            <rect x="2" y="4" width="36" height="36" rx="4" className="a" />
            <text x="50" y="28">
              =
            </text>
            {[66, 98, 130].map((x, i) => (
              <g key={x} opacity={1 - i * 0.25}>
                <rect x={x} y="4" width="4" height="36" rx="2" className="b" />
                <rect x={x + 6} y="4" width="14" height="4" rx="2" className="b" />
              </g>
            ))}
          </svg>
          <h3>Subcomponent</h3>
          <p>
            A weight matrix is written as a sum of rank-1 matrices. Each reads one direction of its input (V),
            writes one direction of its output (U), and can be switched off by itself. Together with a
            remainder they are exactly the original weights.
          </p>
        </div>
        <div>
          <svg viewBox="0 0 150 44" aria-hidden="true" className="explain-art">
            {[0.06, 0.2, 1, 0.12, 0.04, 0.3, 0.75].map((v, i) => (
              <rect
                key={v}
                x={4 + i * 20}
                y={8}
                width={18}
                height={28}
                rx={3}
                fill={`var(--ci-${Math.round(v * 5)})`}
              />
            ))}
          </svg>
          <h3>Causal importance</h3>
          <p>
            A learned number from 0 to 1 for each subcomponent at each token. 1 means that removing it there
            would change the output; 0 means that it can be removed.
          </p>
        </div>
        <div>
          <svg viewBox="0 0 150 44" aria-hidden="true" className="explain-art">
            <rect x="4" y="9" width="120" height="9" rx="4" fill="var(--before)" />
            <rect x="4" y="24" width="10" height="9" rx="4" fill="var(--down-fill)" />
          </svg>
          <h3>Suppression</h3>
          <p>
            Running the model with some subcomponents off and everything else, the remainder included,
            unchanged. If one fact is lost and its neighbours stay, those components carried that fact.
          </p>
        </div>
      </div>
    </section>
  )
}
