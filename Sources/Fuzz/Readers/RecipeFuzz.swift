import Formats
import Recipes

/// Bytes as a recipe; one that is taken must come through its resolved form unchanged.
final class RecipeFuzz: FuzzTarget {
    static let name = "recipe", subject = "a recipe in YAML"

    init(folder: String) {}

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        let resolved = try Recipe.load(yaml: String(decoding: bytes, as: UTF8.self), file: "recipe.yaml")
            .resolvedJSON()
        let again: String
        do { again = try Recipe.load(json: resolved, file: "recipe.resolved.json").resolvedJSON() } catch {
            fatalError("a resolved recipe is refused: \(error)\n\(resolved)")
        }
        precondition(again == resolved, "a resolved recipe resolves to another:\n\(resolved)\n\(again)")
    }
}
