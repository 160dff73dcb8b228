import Tensors

/// What a model is asked about each wanted token.
package enum ModelOutputKind: Sendable {
    /// log-probability of the token, with the entropy of the distribution it was drawn from
    case logprob
    /// a critic's value of the state before the token
    case value
    /// the raw logit of the token: Q(s, w) of a Q network
    case tokenLogit
    /// KL(π || π*) of the state before the token
    case divergence(BoltzmannTarget)
    /// how far the state before the token is from a teacher's
    case distillation(Teacher)

    /// Whether it is of the softmax over the tokens that could be drawn, where those are known.
    package var isOfSupport: Bool {
        if case .logprob = self { true } else { false }
    }
}

/// A model that stands still, and how the policy's distribution is compared with its own.
package struct Teacher: Sendable {
    package let model: LanguageModel
    package let divergence: TeacherDivergence

    package init(_ model: LanguageModel, _ divergence: TeacherDivergence) {
        (self.model, self.divergence) = (model, divergence)
    }
}

/// π* ∝ reference · exp(Q / β), with models that stand still. Without a Q network the sampled tokens' bonuses alone
/// tilt it.
package struct BoltzmannTarget: Sendable {
    package let reference: LanguageModel
    package let q: LanguageModel?
    package let beta: Float

    package init(reference: LanguageModel, q: LanguageModel?, beta: Float) {
        (self.reference, self.q, self.beta) = (reference, q, beta)
    }
}

/// A frozen model's final hidden states of a batch; holds their memory.
final class FrozenModel: Sendable {
    private let hidden: Buffer
    private let model: LanguageModel

    init(hidden: Buffer, _ model: LanguageModel) { (self.hidden, self.model) = (hidden, model) }

    var head: FrozenHead {
        FrozenHead(hidden: hidden.matrix(rows: hidden.count / model.architecture.hidden), head: model.head)
    }
}

/// From final hidden states to answers, and from derivatives by the answers back. One type per kind.
protocol TokenHead {
    func forward(_ hidden: Matrix, _ queries: [HeadRequest]) -> [HeadAnswer]
    /// dhidden +=, gradients +=.
    func backward(
        _ hidden: Matrix, _ queries: [HeadRequest], _ answers: [HeadAnswer], _ derivatives: [HeadDerivative],
        dhidden: Matrix,
        gradients: DecoderGradients)
    /// Forward, `derivatives`, backward; a head that can saves itself the second computation of what both need.
    func learn(
        _ hidden: Matrix, _ queries: [HeadRequest], dhidden: Matrix, gradients: DecoderGradients,
        derivatives: ([HeadAnswer]) throws -> [HeadDerivative]
    ) throws
}

extension TokenHead {
    func learn(
        _ hidden: Matrix, _ queries: [HeadRequest], dhidden: Matrix, gradients: DecoderGradients,
        derivatives: ([HeadAnswer]) throws -> [HeadDerivative]
    ) throws {
        try learnInTwoHalves(hidden, queries, dhidden: dhidden, gradients: gradients, derivatives: derivatives)
    }

    func learnInTwoHalves(
        _ hidden: Matrix, _ queries: [HeadRequest], dhidden: Matrix, gradients: DecoderGradients,
        derivatives: ([HeadAnswer]) throws -> [HeadDerivative]
    ) throws {
        let answers = forward(hidden, queries)
        backward(hidden, queries, answers, try derivatives(answers), dhidden: dhidden, gradients: gradients)
    }
}

extension ModelOutputKind {
    /// `forest`: the batch's tokens, for the models beside.
    func head(of model: LanguageModel, _ forest: TokenForest, _ memory: PassMemory) throws -> any TokenHead {
        switch self {
        case .logprob: LogprobHead(head: model.head, compute: model.compute, memory: memory)
        case .value: ValueHead(weights: model.weights)
        case .tokenLogit: TokenLogitHead(head: model.head)
        case .divergence(let target):
            DivergenceHead(
                head: model.head, compute: model.compute,
                reference: try target.reference.frozen(forest, in: memory.space),
                q: try target.q?.frozen(forest, in: memory.space), beta: target.beta, space: memory.space)
        case .distillation(let teacher):
            DistillationHead(
                head: model.head, compute: model.compute, teacher: try teacher.model.frozen(forest, in: memory.space),
                divergence: teacher.divergence, space: memory.space)
        }
    }
}

fileprivate struct LogprobHead: TokenHead {
    let head: LogitHead
    let compute: Compute
    let memory: PassMemory

    func forward(_ hidden: Matrix, _ queries: [HeadRequest]) -> [HeadAnswer] {
        headForward(hidden, head, queries: queries, compute, in: memory.space)
    }

    func backward(
        _ hidden: Matrix, _ queries: [HeadRequest], _ answers: [HeadAnswer], _ derivatives: [HeadDerivative],
        dhidden: Matrix,
        gradients: DecoderGradients
    ) {
        headBackward(
            hidden, head, queries: queries, answers: answers, derivatives: derivatives, dhidden: dhidden,
            dweight: gradients.head, compute,
            in: memory.space)
    }
}

extension LogprobHead {
    func learn(
        _ hidden: Matrix, _ queries: [HeadRequest], dhidden: Matrix, gradients: DecoderGradients,
        derivatives: ([HeadAnswer]) throws -> [HeadDerivative]
    ) throws {
        guard queries.count <= memory.headRows(vocabulary: head.vocabulary) else {
            // One sequence longer than a chunk: its logits are computed twice, piece by piece.
            return try learnInTwoHalves(
                hidden, queries, dhidden: dhidden, gradients: gradients, derivatives: derivatives)
        }
        try headLearn(
            hidden, head, queries: queries, dhidden: dhidden, dweight: gradients.head, compute,
            in: memory.space, derivatives: derivatives)
    }
}

private struct ValueHead: TokenHead {
    let weights: DecoderWeights

    func forward(_ hidden: Matrix, _ queries: [HeadRequest]) -> [HeadAnswer] {
        valueHeadForward(hidden, weight: weights.head.float32, bias: weights.headBias, queries: queries)
    }

    func backward(
        _ hidden: Matrix, _ queries: [HeadRequest], _ answers: [HeadAnswer], _ derivatives: [HeadDerivative],
        dhidden: Matrix,
        gradients: DecoderGradients
    ) {
        valueHeadBackward(
            hidden, weight: weights.head.float32, queries: queries, derivatives: derivatives.map(\.output),
            dhidden: dhidden,
            dweight: gradients.head, dbias: gradients.headBias)
    }
}

private struct TokenLogitHead: TokenHead {
    let head: LogitHead

    func forward(_ hidden: Matrix, _ queries: [HeadRequest]) -> [HeadAnswer] {
        tokenLogitForward(hidden, head, queries: queries)
    }

    func backward(
        _ hidden: Matrix, _ queries: [HeadRequest], _ answers: [HeadAnswer], _ derivatives: [HeadDerivative],
        dhidden: Matrix,
        gradients: DecoderGradients
    ) {
        tokenLogitBackward(
            hidden, head, queries: queries, answers: answers, derivatives: derivatives.map(\.output), dhidden: dhidden,
            dweight: gradients.head)
    }
}

private struct DivergenceHead: TokenHead {
    let head: LogitHead
    let compute: Compute
    let reference: FrozenModel
    let q: FrozenModel?
    let beta: Float
    let space: any Allocator

    private var target: SoftTarget { SoftTarget(reference: reference.head, q: q?.head, inverseBeta: 1 / beta) }

    func forward(_ hidden: Matrix, _ queries: [HeadRequest]) -> [HeadAnswer] {
        softTargetForward(FrozenHead(hidden: hidden, head: head), target: target, queries: queries, compute, in: space)
    }

    func backward(
        _ hidden: Matrix, _ queries: [HeadRequest], _ answers: [HeadAnswer], _ derivatives: [HeadDerivative],
        dhidden: Matrix,
        gradients: DecoderGradients
    ) {
        softTargetBackward(
            FrozenHead(hidden: hidden, head: head), target: target, queries: queries,
            derivatives: derivatives.map(\.output),
            dhidden: dhidden, dweight: gradients.head, compute,
            in: space)
    }
}

private struct DistillationHead: TokenHead {
    let head: LogitHead
    let compute: Compute
    let teacher: FrozenModel
    let divergence: TeacherDivergence
    let space: any Allocator

    private var target: TeacherTarget { TeacherTarget(teacher: teacher.head, divergence: divergence) }

    func forward(_ hidden: Matrix, _ queries: [HeadRequest]) -> [HeadAnswer] {
        distillationForward(
            FrozenHead(hidden: hidden, head: head), target: target, queries: queries, compute, in: space)
    }

    func backward(
        _ hidden: Matrix, _ queries: [HeadRequest], _ answers: [HeadAnswer], _ derivatives: [HeadDerivative],
        dhidden: Matrix, gradients: DecoderGradients
    ) {
        distillationBackward(
            FrozenHead(hidden: hidden, head: head), target: target, queries: queries,
            derivatives: derivatives.map(\.output), dhidden: dhidden, dweight: gradients.head, compute, in: space)
    }
}
