import Tensors

/// Keys and values of consecutive tokens in every layer with attention. A sequence's cache is a path of blocks: those of its prompt,
/// which it may share with others, then its own. A block is freed when the last path that holds it is gone.
final class KeyValueBlock {
    let capacity: Int
    /// Place of the first token in its sequence.
    let start: Int
    private let storage: Buffer
    private let columns: Int
    /// Per layer, its place among those with attention; -1 elsewhere.
    private let places: [Int]

    init(_ a: DecoderArchitecture, start: Int, capacity: Int) {
        self.capacity = capacity
        self.start = start
        columns = a.keyValueColumns
        let attentionLayers = a.attentionLayers
        var places = [Int](repeating: -1, count: a.layers)
        for (place, layer) in attentionLayers.enumerated() { places[layer] = place }
        self.places = places
        storage = Buffer(uninitialized: 2 * attentionLayers.count * capacity * columns)
    }

    /// [capacity, K·D], after norm and rotation.
    func keys(_ layer: Int) -> Matrix { matrix(2 * places[layer]) }
    /// [capacity, K·D]
    func values(_ layer: Int) -> Matrix { matrix(2 * places[layer] + 1) }

    private func matrix(_ index: Int) -> Matrix {
        Matrix(storage.pointer + index * capacity * columns, rows: capacity, columns: columns)
    }
}

/// One token to be computed: its place, and the blocks that hold everything before it and itself.
struct DecodingRow {
    let token: Int32
    let position: Int
    let path: [KeyValueBlock]
    /// What its sequence remembers before it, and with it from then on; nil where no layer has a delta rule. Rows that
    /// share one stand behind each other.
    var state: RecurrentState?

    /// Where its own key and value go.
    var block: KeyValueBlock { path[path.count - 1] }
    var index: Int { position - block.start }

    /// Calls `body` with each block's rows that hold keys from `first` to this token, and their offset from `first`.
    @inline(__always)
    func forEachBlock(from first: Int, _ body: (_ block: KeyValueBlock, _ rows: Range<Int>, _ offset: Int) -> Void) {
        for (number, block) in path.enumerated() {
            let end = number + 1 < path.count ? path[number + 1].start : position + 1
            let low = max(first, block.start)
            if low < end { body(block, low - block.start..<end - block.start, low - first) }
        }
    }
}
