/** The only place that inserts HTML: notes rendered and sanitised by the server (nh3). */
export function SanitisedNotes({ html }: { html: string }) {
  // biome-ignore lint/security/noDangerouslySetInnerHtml: sanitised by the server, and only here
  return <div className="prose" dangerouslySetInnerHTML={{ __html: html }} />
}
