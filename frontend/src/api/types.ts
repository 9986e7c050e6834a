/** The wire shapes under the names the pages use. All of them come from the generated schema. */
import type { components } from './schema'

type Schemas = components['schemas']

export type Token = Schemas['Token']
export type Provenance = Schemas['Provenance']
export type TargetStatus = Schemas['TargetStatus']
export type Health = Schemas['Health']
export type Visitor = Schemas['Visitor']
export type Role = NonNullable<Visitor['role']>
export type AccessToken = Schemas['AccessToken']
export type AccessTokenRequest = Schemas['AccessTokenRequest']
export type NewAccessToken = Schemas['NewAccessToken']
export type AuditEntry = Schemas['AuditEntry']

export type DecompositionSummary = Schemas['DecompositionSummary']
export type Decomposition = Schemas['Decomposition']
export type Headline = Schemas['Headline']
export type Thumbnail = Schemas['Thumbnail']
export type SiteSummary = Schemas['SiteSummary']
export type RunPrompt = Schemas['RunPrompt']
export type EvidenceRow = Schemas['EvidenceRow']
export type Curve = Schemas['Curve']
export type PaperTable = Schemas['PaperTable']
export type Variant = Schemas['Variant']
export type VariantTable = Schemas['VariantTable']
export type TableRow = Schemas['TableRow']
export type MethodPart = Schemas['MethodPart']
export type FactTable = Schemas['FactTable']
export type FactRow = Schemas['FactRow']
export type AblationCheck = Schemas['AblationCheck']
export type Group = Schemas['Group']
export type ComponentRow = Schemas['ComponentRow']
export type ComponentDetail = Schemas['ComponentDetail']
export type ComponentExample = Schemas['ComponentExample']
export type ComponentHarvest = Schemas['ComponentHarvest']
export type ComponentLink = Schemas['ComponentLink']
export type Direction = Schemas['Direction']
export type ExampleBand = Schemas['ExampleBand']
export type HarvestSummary = Schemas['HarvestSummary']
export type LabelHistory = Schemas['LabelHistory']
export type TokenStat = Schemas['TokenStat']

export type TokenizeAnswer = Schemas['TokenizeAnswer']
export type Importances = Schemas['Importances']
export type Attribution = Schemas['AttributionAnswer']
export type AttributionRequest = Schemas['AttributionRequest']
export type ExactEffect = Schemas['ExactEffect']
export type Evaluation = Schemas['Evaluation']
export type EvaluationRow = Schemas['EvaluationRow']
export type MethodSummary = Schemas['MethodSummary']
export type LayerEffect = Schemas['LayerEffect']
export type PairEffect = Schemas['PairEffect']
export type Trust = Schemas['Trust']
export type Suppression = Schemas['Suppression']
export type Ablation = Schemas['Ablation']
export type AblationRequest = Schemas['AblationRequest']
export type CodeRequest = Schemas['CodeRequest']
export type PositionShift = Schemas['PositionShift']
export type OutputShift = Schemas['OutputShift']
export type Comparison = Schemas['Comparison']
export type ComparisonRequest = Schemas['ComparisonRequest']
export type ConditionResult = Schemas['ConditionResult']
export type PromptComparison = Schemas['PromptComparison']
export type SweepRequest = Schemas['SweepRequest']
export type SweepFrame = Schemas['SweepFrame']
export type SweepItem = Schemas['SweepItem']
export type RegimeRequest = Schemas['RegimeRequest']
export type Regimes = Schemas['Regimes']
export type RegimeOutcome = Schemas['RegimeOutcome']
export type AttentionRequest = Schemas['AttentionRequest']
export type Attention = Schemas['Attention']
export type HeadPatterns = Schemas['HeadPatterns']
export type ContinuationRequest = Schemas['ContinuationRequest']
export type Continuation = Schemas['Continuation']

export type Circuit = Schemas['Circuit']
export type StoredCircuit = Schemas['StoredCircuit']
export type CircuitRequest = Schemas['CircuitRequest']
export type GraphRequest = Schemas['GraphRequest']
export type AttributionGraph = Schemas['AttributionGraph']
/** A circuit that is asked for: what the page sends. */
export interface CircuitQuestion {
  text?: string
  token_ids?: number[]
  bos: boolean
  plain_text: boolean
  threshold?: number
  top_edges: number
  output: { position?: number; token?: string; against?: string }
}

export type Finding = Schemas['Finding']
export type ImportancesRequest = Schemas['ImportancesRequest']
export type FindingRequest = Schemas['FindingRequest']
export type FindingSummary = Schemas['FindingSummary']
export type Collection = Schemas['Collection']
export type CollectionRequest = Schemas['CollectionRequest']
export type Replay = Schemas['Replay']

export type Job = Schemas['Job']
export type JobRequest = Schemas['JobRequest']
export type Preset = Schemas['Preset']

export type ComponentSort = 'key' | 'mean_ci' | 'max_ci' | 'density' | 'effect' | 'label' | 'label_f1'
export type Split = RunPrompt['split']
export type Mode = Ablation['mode']

export type Source = Schemas['InspectRequest']['source']
export type ModelChoice = Schemas['ModelChoice']
export type ModelView = Schemas['ModelView']
export type ModuleView = Schemas['ModuleView']
/** A prompt of a run; what is left out has its default. */
export type PromptData = Partial<Schemas['PromptData']> & { text: string }
export type AskedPrompt = Schemas['AskedPrompt']
export type Recipe = Schemas['Recipe']
export type Review = Schemas['Review']
export type Estimate = Schemas['Estimate']
export type Dependents = Schemas['Dependents']
