import CKernels
import Foundation
import Models
import Tensors
import Testing

@Suite struct OpenBLASCoreTests {
    /// Debian 12's OpenBLAS takes SSE3 kernels on processors that are newer than it is; products are then a fifth as
    /// fast, and nobody says so.
    @Test(
        .enabled(if: crux_best_instruction_set().rawValue >= CRUX_AVX2.rawValue),
        .disabled(if: ProcessInfo.processInfo.environment["OPENBLAS_CORETYPE"] != nil)
    ) func productsUseWhatTheProcessorHas() {
        let core = String(cString: crux_openblas_core())
        #expect(!core.isEmpty && crux_openblas_core_is_old(core) == 0, "OpenBLAS multiplies as on a \(core)")
    }

    @Test(arguments: [("Prescott", 1), ("prescott", 1), ("Haswell", 0), ("Zen", 0), ("SkylakeX", 0), ("", 0)])
    func oldCoresAreKnownByName(_ core: String, _ isOld: Int32) {
        #expect(crux_openblas_core_is_old(core) == isOld)
    }
}
