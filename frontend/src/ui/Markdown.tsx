/** The one place that puts HTML on the page: notes that the server rendered and sanitised (nh3). */
export function SanitisedNotes({ html }: { html: string }) {
  // biome-ignore lint/security/noDangerouslySetInnerHtml: sanitised by the server, and only here
  return <div className="prose" dangerouslySetInnerHTML={{ __html: html }} />
}
