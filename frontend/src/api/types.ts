/** The wire shapes under the names the pages use. All of them come from the generated schema. */
import type { components } from './schema'

type Schemas = components['schemas']

export type Token = Schemas['Token']
export type Provenance = Schemas['Provenance']
export type TargetStatus = Schemas['TargetStatus']
export type Health = Schemas['Health']

export type DecompositionSummary = Schemas['DecompositionSummary']
export type Decomposition = Schemas['Decomposition']
export type Headline = Schemas['Headline']
export type Thumbnail = Schemas['Thumbnail']
export type SiteSummary = Schemas['SiteSummary']
export type RunPrompt = Schemas['RunPrompt']
export type EvidenceRow = Schemas['EvidenceRow']
export type Curve = Schemas['Curve']
export type PaperTable = Schemas['PaperTable']
export type AblationCheck = Schemas['AblationCheck']
export type Group = Schemas['Group']
export type ComponentRow = Schemas['ComponentRow']
export type ComponentDetail = Schemas['ComponentDetail']
export type ComponentExample = Schemas['ComponentExample']

export type TokenizeAnswer = Schemas['TokenizeAnswer']
export type Importances = Schemas['Importances']
export type Suppression = Schemas['Suppression']
export type Ablation = Schemas['Ablation']
export type AblationRequest = Schemas['AblationRequest']
export type PositionShift = Schemas['PositionShift']
export type OutputShift = Schemas['OutputShift']

export type Finding = Schemas['Finding']
export type ImportancesRequest = Schemas['ImportancesRequest']
export type FindingRequest = Schemas['FindingRequest']
export type FindingSummary = Schemas['FindingSummary']
export type Replay = Schemas['Replay']

export type Job = Schemas['Job']
export type JobRequest = Schemas['JobRequest']
export type Preset = Schemas['Preset']

export type ComponentSort = 'key' | 'mean_ci' | 'max_ci' | 'density' | 'label'
export type Split = RunPrompt['split']
export type Mode = Ablation['mode']
