package example;

import com.google.gson.Gson;
import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.PreconditionFailure;
import com.google.rpc.RetryInfo;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/**
 * How this program calls: gRPC's own retries and deadlines from the service config, more repeats for
 * outages that last longer, and errors with their details.
 */
final class Client {
    /** Connects to HOST:PORT. */
    static ManagedChannel connect(String address, Path serviceConfig) throws IOException {
        // Gson reads numbers as Double, which is what grpc-java expects.
        @SuppressWarnings("unchecked")
        Map<String, ?> config = new Gson().fromJson(Files.readString(serviceConfig), Map.class);
        return Grpc.newChannelBuilder(address, InsecureChannelCredentials.create())
                .defaultServiceConfig(config)
                .disableServiceConfigLookUp()
                .enableRetry()
                // A stream has no deadline: PINGs tell when the server is gone.
                .keepAliveTime(20, TimeUnit.SECONDS)
                .build();
    }

    /**
     * Repeats a call until it is answered. Every call may be repeated: reads change nothing, and the
     * others carry a request_id.
     */
    static <T> T answered(Supplier<T> call) {
        while (true) {
            try {
                return call.get();
            } catch (StatusRuntimeException error) {
                if (!isUnavailable(error)) {
                    throw error;
                }
                System.err.println(error.getStatus().getCode() + ", repeated");
                pause(error);
            }
        }
    }

    /** Whether the server could not be reached or did not do the call for the moment. */
    static boolean isUnavailable(StatusRuntimeException error) {
        Status.Code code = error.getStatus().getCode();
        return code == Status.Code.UNAVAILABLE
                || code == Status.Code.RESOURCE_EXHAUSTED
                || code == Status.Code.DEADLINE_EXCEEDED;
    }

    /** Waits as long as the error says, or a second. */
    static void pause(StatusRuntimeException error) {
        var delay = detail(error, RetryInfo.getDefaultInstance()).getRetryDelay();
        long millis = Duration.ofSeconds(delay.getSeconds(), delay.getNanos()).toMillis();
        pause(millis > 0 ? millis : 1000);
    }

    static void pause(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException interrupted) {
            throw new IllegalStateException(interrupted);
        }
    }

    /** Why a call was refused. */
    record Refusal(
            String reason,
            Map<String, String> metadata,
            List<PreconditionFailure.Violation> violations,
            List<BadRequest.FieldViolation> fields) {

        /** Reads the details of an error. One that is not the shop's is thrown. */
        static Refusal of(StatusRuntimeException error) {
            ErrorInfo info = detail(error, ErrorInfo.getDefaultInstance());
            if (!info.getDomain().equals("commerce-core.dev")) {
                throw error;
            }
            return new Refusal(
                    info.getReason(),
                    info.getMetadataMap(),
                    detail(error, PreconditionFailure.getDefaultInstance()).getViolationsList(),
                    detail(error, BadRequest.getDefaultInstance()).getFieldViolationsList());
        }
    }

    /** Finds the detail of a type; an empty one if there is none. */
    private static <T extends Message> T detail(StatusRuntimeException error, T empty) {
        try {
            for (Any detail : StatusProto.fromThrowable(error).getDetailsList()) {
                if (detail.isSameTypeAs(empty)) {
                    return detail.unpackSameTypeAs(empty);
                }
            }
            return empty;
        } catch (InvalidProtocolBufferException damaged) {
            throw new IllegalStateException(damaged);
        }
    }

    private Client() {}
}
